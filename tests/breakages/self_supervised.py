"""Breakages of the losses of a batch of pairs."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "an example is its own positive",
        "_losses/self_supervised.py",
        "positive = same & ~jnp.eye(y.size, dtype=bool)",
        "positive = same & jnp.ones((y.size, y.size), dtype=bool)",
        f"{LAWS} -k ntxent",
    ),
]
