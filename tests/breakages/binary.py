"""Breakages of the losses of a logit."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "1 - p by subtraction in the second derivative of the sigmoid",
        "_core/numerics.py",
        "return sigmoid(x), sigmoid(x) * sigmoid(-x) * dx",
        "return sigmoid(x), sigmoid(x) * (1 - sigmoid(x)) * dx",
        f"{LAWS} tests/test_binary.py tests/test_focal.py -k sigmoid or focal",
    ),
]
