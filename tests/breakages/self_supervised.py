"""Breakages of the losses of a batch of pairs."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "an example is its own positive",
        "_core/batch.py",
        "return kept & ~same(self.place(), kept.shape[1])",
        "return kept",
        f"{LAWS} -k ntxent",
    ),
]
