"""Breakages of the bi-tempered logistic loss."""

from tests.breakages import Breakage

ACCURACY = "tests/test_accuracy.py -k bi_tempered"

BREAKAGES = [
    Breakage(
        "the normaliser is that after three steps",
        "_core/tempered.py",
        "_MOST_STEPS = 40",
        "_MOST_STEPS = 3",
        "tests/test_tempered.py -k normaliser",
    ),
    Breakage(
        "the slope of what holds most of the weight cancels",
        "_core/tempered.py",
        "return jnp.where(most, heavy, v - q * _sum(v, axis))",
        "return v - q * _sum(v, axis)",
        ACCURACY,
    ),
    Breakage(
        "the certain label is referred to itself",
        "_core/tempered.py",
        "right = _sum(jnp.where(nll == least, y, 0), axis) > 0.5",
        "right = _sum(jnp.where(nll == least, y, 0), axis) > 2",
        "tests/test_tempered.py -k confident",
    ),
    Breakage(
        "the normaliser has no derivative",
        "_core/tempered.py",
        "return v - _sum(q * v, axis)",
        "return v",
        f"{ACCURACY} and hessian",
    ),
    Breakage(
        "a change of the heavy tail has no effect on the slopes",
        "_core/tempered.py",
        "dslope -= _balanced(length * slope, q, axis) * dbeta",
        "dslope -= 0 * dbeta",
        "tests/test_tempered.py -k finite_differences",
    ),
    Breakage(
        "a label that does not exist has no mass",
        "_losses/tempered.py",
        "one_hot, jnp.nan)",
        "one_hot, 0)",
        "tests/test_classification.py -k out_of_range",
    ),
]
