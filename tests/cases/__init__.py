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
    * `FLAGSHIP`: the loss that stands for its family where all losses share the
      machinery under test (a set of one name); the one of the first row if left out.

    What the last two mean for the tests is said in `tests/selection.py`.
    """
    return {name for family in _families for name in getattr(family, what, ())}


FLAGSHIPS = {
    name
    for family in _families
    for name in getattr(family, "FLAGSHIP", {family.CASES[0].name})
}
