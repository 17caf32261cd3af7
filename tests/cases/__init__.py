"""The table: one row or more for every public loss."""

import importlib
import pkgutil

import pytest

from tests.case import Case

CASES: list[Case] = [
    case
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__))
    for case in importlib.import_module(f"{__name__}.{module}").CASES
]

_first = {case.name: case for case in reversed(CASES)}


# These compile long, and share all they have with a loss whose laws are always run:
# theirs are in the exhaustive run.
SIBLINGS = {
    "ctc_loss_with_forward_probs": "ctc_loss",
    "info_nce_loss": "clip_loss",
    "linear_distillation_loss": "linear_softmax_cross_entropy",
    "linear_log_probs": "linear_softmax_cross_entropy",
    "linear_loss": "linear_softmax_cross_entropy",
    "multiclass_generalized_dice_loss": "dice_loss",
    "safe_softmax_cross_entropy": "softmax_cross_entropy",
    "siglip_loss": "clip_loss",
}


def law_marks(case: Case) -> list[pytest.MarkDecorator]:
    """For the laws: one row of each loss but the siblings is always run."""
    return [pytest.mark.exhaustive] if case.name in SIBLINGS else marks(case)


def marks(case: Case) -> list[pytest.MarkDecorator]:
    """`exhaustive` for the further rows of a loss; its first one is always run."""
    return [] if _first[case.name] is case else [pytest.mark.exhaustive]
