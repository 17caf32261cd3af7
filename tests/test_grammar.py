"""One grammar: names, positional order and defaults; every public name in the table."""

import inspect

import optax.losses
import pytest

import jaxloss
from tests.cases import CASES, declared

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
NOT_REDUCED = declared("NOT_REDUCED")
IN_NATS = declared("IN_NATS")
OWN_REDUCTION = declared("OWN_REDUCTION")
WITHOUT_ROW = declared("WITHOUT_ROW")


def parameters(function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_every_public_name_has_a_row():
    assert {case.name for case in CASES} == set(PUBLIC) - WITHOUT_ROW


@pytest.mark.parametrize(
    "what", ["NOT_REDUCED", "IN_NATS", "OWN_REDUCTION", "WITHOUT_ROW", "SIBLINGS"]
)
def test_what_the_table_declares_is_public(what: str):
    assert declared(what) <= set(PUBLIC)


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


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - set(OPTAX)))
def test_numbers_are_keyword_only(name: str):
    """Where optax has no such function that would take them by position."""
    for key, parameter in parameters(getattr(jaxloss, name)).items():
        if isinstance(parameter.default, int | float):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, key


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
    if name not in NOT_REDUCED or "loss" in name:
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
