"""The table: one row or more for every public loss."""

import importlib
import pkgutil

from tests.case import Case

_families = [
    importlib.import_module(f"{__name__}.{module}")
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__))
]
CASES: list[Case] = [case for family in _families for case in family.CASES]


def declared(what: str) -> set[str]:
    """The public names for which the families declare something, such as `IN_NATS`.

    A family's module may define, beside `CASES`:

    * `IN_NATS`: losses that are logarithms, and so take `base`;
    * `NOT_REDUCED`: functions that are no losses, or return something else than
      losses, and so take no `weights` and `reduction`;
    * `OWN_REDUCTION`: losses with `where` but a reduction of their own;
    * `WITHOUT_ROW`: names that have no row, for a reason said there;
    * `SIBLINGS`: losses that share all they have with another, whose laws are always
      run: theirs are in the exhaustive run;
    * `FLAGSHIP`: the loss that stands for all that go through the same machinery: one
      residual an entry, a row with a label, a row with a distribution, a batch of
      examples that depend on each other, and so on.

    What the last two mean for the tests is said in `tests/selection.py`.
    """
    return {name for family in _families for name in getattr(family, what, ())}


FLAGSHIPS = declared("FLAGSHIP")
