"""What the documentation names exists."""

import contextlib
import io
import operator
import pathlib
import re

import optax.losses
import pytest

import jaxloss
import jaxloss.metrics
from tests.migration import tables

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("library", tables())
def test_every_name_in_the_migration_tables_exists(library):
    rows = tables()[library]
    assert len(rows) > 10
    for theirs, ours in rows:
        assert ours, theirs
        for name in ours:
            assert operator.attrgetter(name)(jaxloss), f"{theirs}: jaxloss.{name}"


def test_the_table_of_optax_is_complete():
    theirs = {name.strip("`") for name, _ in tables()["optax"]}
    public = {name for name in vars(optax.losses) if not name.startswith("_")}
    assert {name for name in public if callable(getattr(optax.losses, name))} == theirs


def test_what_explain_says_of_the_kernel_is_what_it_says():
    text = (DOCS / "kernels.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (expected,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(program, {})
    assert shown.getvalue() == expected
