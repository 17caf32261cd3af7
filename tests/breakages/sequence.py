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
    Breakage(
        "an infinite cost over gamma has a derivative by gamma",
        "_losses/warping.py",
        "behind = jnp.where(absent, 0, least[..., None] - ways)",
        "behind = (least[..., None] - ways)",
        "tests/test_laws.py -k numbers_may and soft_dtw",
    ),
]
