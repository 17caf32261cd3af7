"""One grammar: names, positional order and defaults; every public name in the table."""

import inspect

import optax.losses
import pytest

import jaxloss
from tests.cases import CASES

PUBLIC = sorted(
    name
    for name, value in vars(jaxloss).items()
    if inspect.isfunction(value) and not name.startswith("_") and name != "version"
)
OPTAX = sorted(
    name
    for name, value in vars(optax.losses).items()
    if callable(value) and not name.startswith("_")
)
# Functions that are no losses, or return something else than losses, and so have no
# reduction of their own.
NOT_REDUCED = {
    "explain",
    "linear_log_probs",
    "linear_loss",  # makes a loss
    "convex_kl_divergence",  # a deprecated alias, kept as it was
    "cosine_similarity",
    "ctc_loss_with_forward_probs",
    "make_fenchel_young_loss",
    "safe_softmax_cross_entropy",
    "smooth_labels",
}
# Names that end in a logarithm: their unit can be chosen.
IN_NATS = {
    "clip_loss",
    "info_nce_loss",
    "linear_distillation_loss",
    "linear_softmax_cross_entropy",
    "siglip_loss",
    "ctc_loss",
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "ntxent",
    "poly_loss_cross_entropy",
    "ranking_softmax_loss",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "softmax_focal_loss",
}
# Dice losses reduce as optax's do: over classes, and over the batch where the weights
# of the classes come from it.
OWN_REDUCTION = {"binary_dice_loss", "dice_loss", "multiclass_generalized_dice_loss"}


def parameters(function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_every_public_name_has_a_row():
    without = {"convex_kl_divergence", "explain"}
    assert {case.name for case in CASES} == set(PUBLIC) - without


def test_rows_are_named_apart():
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))


def test_all_of_optax_is_here():
    assert set(OPTAX) <= set(PUBLIC)
    assert len(OPTAX) == 32


@pytest.mark.parametrize("name", OPTAX)
def test_signature_is_optax_s_and_more(name: str):
    """optax's parameters, in its order, with its defaults; ours are keyword-only."""
    theirs = parameters(getattr(optax.losses, name))
    ours = parameters(getattr(jaxloss, name))
    # Deprecated there, and hidden behind *args.
    if name != "convex_kl_divergence":
        assert list(ours)[: len(theirs)] == list(theirs) or set(theirs) <= set(ours)
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    places = [key for key, value in theirs.items() if value.kind in positional]
    assert [k for k, v in ours.items() if v.kind in positional][: len(places)] == places
    for key, parameter in theirs.items():
        if parameter.kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        ):
            continue
        assert ours[key].default == parameter.default, key
    for key in set(ours) - set(theirs):
        assert ours[key].kind is inspect.Parameter.KEYWORD_ONLY, key


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - NOT_REDUCED))
def test_options_of_a_loss(name: str):
    options = set(parameters(getattr(jaxloss, name)))
    assert "where" in options
    if name not in OWN_REDUCTION:
        assert {"weights", "reduction"} <= options
    assert ("base" in options) == (name in IN_NATS)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_is_the_manual(name: str):
    """Formula, every argument, gradient, errors, an example, other names."""
    function = getattr(jaxloss, name)
    text = inspect.getdoc(function)
    assert text
    if name == "convex_kl_divergence":
        assert "deprecated" in text.lower()
        return
    if name == "explain":
        return
    for section in ("Args:", "Returns:", "Raises:", "Examples:", "Elsewhere"):
        assert section in text, section
    assert ".. math::" in text or ":math:" in text
    if name not in {"smooth_labels", "make_fenchel_young_loss"}:
        assert "Gradient:" in text
    arguments = text.split("Args:")[1].split("Returns:")[0]
    for argument in parameters(function):
        assert argument in arguments, argument
    first, _, _ = text.partition("\n")
    assert first.endswith(".") and len(first) < 80


@pytest.mark.parametrize("name", PUBLIC)
def test_annotations_are_complete(name: str):
    signature = inspect.signature(getattr(jaxloss, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for key, parameter in signature.parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, key
