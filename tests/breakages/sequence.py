"""Breakages of the alignments."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "a label may follow itself without a blank",
        "_core/alignments.py",
        "return self.last == self.next",
        "return self.last != self.last",
        f"{LAWS} -k ctc_loss",
    ),
]
