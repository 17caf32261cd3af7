"""All rows, each with the package it is held to."""

from tests.parity.rows import (
    jaxopt_losses,
    keras_losses,
    rax_losses,
    torch_classification,
    torch_others,
)

TABLES = {
    "torch": [*torch_classification.ROWS, *torch_others.ROWS],
    "keras": keras_losses.ROWS,
    "rax": rax_losses.ROWS,
    "jaxopt": jaxopt_losses.ROWS,
}
ROWS = [
    (row.package or package, row) for package, rows in TABLES.items() for row in rows
]
