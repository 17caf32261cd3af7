"""Each name of the migration tables has a row, or a reason why it has none."""

import pytest

from tests.migration import tables
from tests.parity.peers import PEERS
from tests.parity.rows import ROWS

# By heading of the tables.
ELSEWHERE = {
    "optax": "tests/test_laws.py and `make optax-suite` hold the losses to optax",
    "Liger-Kernel": "Triton kernels, which run on GPUs only",
}
NOT_COMPARED = {
    "AdaptiveLogSoftmaxWithLoss": "another model: a softmax of softmaxes, with "
    "parameters of its own, in the place of the whole one",
    "torchaudio.functional.rnnt_loss": "compiled code, in wheels for torch with CUDA",
}
HEADINGS = {peer.heading for peer in PEERS.values()}


def first_name(cell: str) -> str:
    """Of "`name`" or "`name` with probabilities"."""
    return cell.split("`")[1]


def test_each_table_is_compared_here_or_elsewhere():
    assert set(tables()) == HEADINGS | set(ELSEWHERE)


@pytest.mark.parametrize("heading", sorted(HEADINGS))
def test_each_pair_of_names_has_a_row(heading):
    named = {
        (first_name(theirs), name)
        for theirs, ours in tables()[heading]
        for name in ours
        if first_name(theirs) not in NOT_COMPARED
    }
    rows = {
        (row.theirs, row.ours)
        for package, row in ROWS
        if PEERS[package].heading == heading
    }
    assert rows == named


def test_what_is_not_compared_is_in_the_tables():
    names = {first_name(theirs) for h in HEADINGS for theirs, _ in tables()[h]}
    assert set(NOT_COMPARED) <= names


def test_rows_have_names_of_their_own():
    names = [(package, row.id) for package, row in ROWS]
    assert len(set(names)) == len(names)
