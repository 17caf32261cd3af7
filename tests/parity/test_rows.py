"""Values and gradients of every row, by jaxloss and by the other package itself."""

import numpy as np
import pytest

from tests.parity import peers
from tests.parity.rows import ROWS


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("package", "row"), ROWS, ids=[f"{package}-{row.id}" for package, row in ROWS]
)
def test_values_and_gradients(package, row, dtype):
    theirs = peers.theirs(package, row, dtype)
    ours = peers.ours(row, dtype)
    row.assert_close(ours.value, theirs.value, dtype, "value")
    if theirs.gradients is None or not row.by_gradient:
        return
    assert len(ours.gradients) == len(theirs.gradients) == len(row.inputs)
    for place, pair in enumerate(zip(ours.gradients, theirs.gradients, strict=True)):
        row.assert_close(*pair, dtype, f"gradient by input {place}")
