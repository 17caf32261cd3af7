"""The changes of `python -m tests.breakages` still apply to the code as it is."""

import pytest

from tests.breakages import ROOT, Breakage
from tests.breakages.__main__ import families

BREAKAGES = [breakage for family in families().values() for breakage in family]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=[b.what for b in BREAKAGES])
def test_the_change_can_be_made(breakage: Breakage):
    text = (ROOT / "jaxloss" / breakage.file).read_text()
    changed = breakage.applied(text)
    assert changed != text
    compile(changed, breakage.file, "exec")
    for file in breakage.tests.partition(" -k ")[0].split():
        assert (ROOT / file).is_file()


def test_descriptions_are_told_apart():
    assert len({breakage.what for breakage in BREAKAGES}) == len(BREAKAGES)
