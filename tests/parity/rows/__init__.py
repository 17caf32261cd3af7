"""All rows, each with the package it is held to."""

from tests.parity.rows import (
    jaxopt_losses,
    keras_losses,
    rax_losses,
    scipy_laws,
    sklearn_metrics,
    torch_classification,
    torch_others,
)

TABLES = {
    "torch": [*torch_classification.ROWS, *torch_others.ROWS],
    "keras": keras_losses.ROWS,
    "rax": rax_losses.ROWS,
    "jaxopt": jaxopt_losses.ROWS,
    "sklearn": sklearn_metrics.ROWS,
    "scipy": scipy_laws.ROWS,
}
ROWS = [
    (row.package or package, row) for package, rows in TABLES.items() for row in rows
]
