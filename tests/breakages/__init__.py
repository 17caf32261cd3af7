"""Does anything notice? Changes that break the library, each with the tests that must.

A family's module here lists its own in `BREAKAGES`; `python -m tests.breakages` makes
them, one at a time.
"""

import pathlib
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parents[2]

LAWS = "tests/test_laws.py tests/test_accuracy.py"


@dataclass(frozen=True)
class Breakage:
    """One change of one file, and where it must be noticed."""

    what: str
    file: str
    """Below `jaxloss/`."""
    old: str
    """Stands once in the file."""
    new: str
    tests: str
    """Arguments of pytest, whose usual run is meant: files, and `-k` with words."""

    def applied(self, text: str) -> str:
        """The text of the file with the change made."""
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.what}: the text to change stands {text.count(self.old)} times "
                f"in {self.file}"
            )
        return text.replace(self.old, self.new)
