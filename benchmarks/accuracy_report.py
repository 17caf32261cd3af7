"""What `benchmarks.accuracy` found, as Markdown."""

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.accuracy_results import (
    DTYPES,
    OURS,
    QUANTITIES,
    TWIN,
    Row,
    summary,
    worst,
)
from benchmarks.markdown import table
from benchmarks.results import conditions


def contract(header: dict[str, Any]) -> str:
    """What the counts mean, from the numbers that the run was judged by."""
    of = header["contract"]
    return (
        f"Within the contract is an error of at most {of['value']:g} of the exact "
        f"value, {of['gradient']:g} of each component of the gradient (of the terms of "
        f"the jvp's sum) and {of['Hessian']:g} of the Hessian's diagonal, beside the "
        "function's own sensitivity to one joint unit in the last place of its inputs, "
        "and one rounding to the dtype in which a half-precision result is returned; "
        "`tests/cases` says where a loss is held to more or less, and why. What is "
        f"exact comes from formulas in {of['digits of the formulas']} digits, on the "
        f"rounded inputs. Scales: {', '.join(of['scales'])}."
    )


def outside(rows: Sequence[Row], dtype: str) -> str:
    """Which of ours are outside the contract in a dtype, in what, at which scales."""
    found = []
    for row in rows:
        wrong = [
            " ".join(key.split()[:0:-1])
            for key, errors in row.found.items()
            if errors.wrong and key.split()[0] == dtype and row.library == OURS
        ]
        if wrong:
            found.append(f"`{row.row}` ({', '.join(wrong)})")
    return f"Outside in {dtype}: {', '.join(found) or 'none of jaxloss'}."


def render(rows: Sequence[Row], header: dict[str, Any]) -> str:
    """The section of the README. Depends on its arguments alone."""
    counts = table(summary(rows), 2)
    where = conditions(header)
    dates = {update["date"][:10] for update in header.get("updates", [])}
    if dates:
        where += f" Some rows again on {', '.join(sorted(dates))}: the file says which."
    text = f"{outside(rows, DTYPES[0])} {contract(header)}"
    return "\n".join([where, "", *counts, "", text])


def cell(row: Row, dtype: str, quantity: str) -> str:
    """Worst error and its units in the last place; bold outside the contract."""
    found = row.errors(dtype, quantity)
    if not found:
        return ""
    size, units = worst(found), worst(found, "worst_units")
    text = "not finite"
    if math.isfinite(size):
        text = f"{size:.1e}" + (f" ({units:.3g})" if units < 1e4 else "")
    return text if row.within(dtype, quantity) else f"**{text}**"


def page(rows: Sequence[Row], header: dict[str, Any]) -> str:
    """The summary, and a line a row."""
    dtype, *halves = DTYPES
    theirs = [f"optax: {quantity}" for quantity in QUANTITIES]
    lines = [["row", *QUANTITIES, *theirs, "half precision"]]
    twins = {row.row: row for row in rows if row.library == TWIN}
    for row in (row for row in rows if row.library == OURS):
        twin = twins[row.row]
        theirs = [cell(twin, dtype, quantity) for quantity in QUANTITIES]
        if twin.twin != "measured":
            theirs[0] = twin.twin
        missed = any(
            row.within(half, quantity) is False
            for half in halves
            for quantity in QUANTITIES
        )
        lines.append(
            [
                f"`{row.row}`",
                *(cell(row, dtype, quantity) for quantity in QUANTITIES),
                *theirs,
                "**outside**" if missed else "within",
            ]
        )
    return "\n".join(
        [
            render(rows, header),
            "",
            f"Worst errors in {dtype} over all scales, relative to the exact number, "
            "and in brackets in units in the last place. What is outside the contract "
            "is bold. A large error within it belongs to a number that the last place "
            "of the inputs decides. In half precision inputs may fall on a kink: where "
            "the first derivative jumps there is no second and none is demanded, but "
            "where the second jumps, one of its sides counts as outside.",
            "",
            *table(lines, 1),
        ]
    )
