"""`benchmarks.accuracy` measures every loss, sees what is wrong, and says so."""

import json

import jax.numpy as jnp
import pytest

import jaxloss
from benchmarks import accuracy, accuracy_report, accuracy_results, report
from benchmarks.accuracy_results import OURS, QUANTITIES, TWIN, Errors, Row
from tests.cases import CASES


def run(row, *more):
    return accuracy.main(["--only", f"^{row}$", *more])


def test_a_whole_run(tmp_path, capsys):
    """Command line to JSON, Markdown and picture; then what was written is read."""
    path, page, picture = (tmp_path / f"run.{end}" for end in ("json", "md", "png"))
    files = ["--json", str(path), "--markdown", str(page), "--plot", str(picture)]
    assert run("huber_loss", *files) == 0, capsys.readouterr().out
    ours, twin = accuracy_results.read(path)[0]
    assert (ours.library, twin.library, twin.twin) == (OURS, TWIN, "measured")
    keys = {
        f"{dtype} {scale} {quantity}"
        for dtype in accuracy_results.DTYPES
        for scale in ("tiny", "unit", "wide", "offset", "saturated")
        for quantity in QUANTITIES
    }
    assert set(ours.found) == set(twin.found) == keys
    assert not ours.complaint
    # (q - d) + d, near the optimum: the README has the value.
    assert twin.found["float32 tiny gradient"].wrong
    assert twin.found["float32 tiny gradient"].worst > 0.01
    assert "| `huber_loss` |" in page.read_text()
    again = tmp_path / "again.png"
    assert accuracy.main(["--results", str(path), "--plot", str(again)]) == 0
    for name in ("run.png", "run-optax.png", "again.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_wrong_loss_is_seen(monkeypatch, capsys):
    right = jaxloss.absolute_error
    monkeypatch.setattr(
        jaxloss, "absolute_error", lambda *a, **o: right(*a, **o) * (1 + 1e-5)
    )
    assert run("absolute_error") == 1
    assert "float32 unit value: outside" in " ".join(capsys.readouterr().out.split())


def test_a_loss_that_raises_is_seen(monkeypatch, capsys):
    def broken(*arrays, **options):
        raise ArithmeticError("cannot")

    monkeypatch.setattr(jaxloss, "absolute_error", broken)
    assert run("absolute_error") == 1
    assert "float16: ArithmeticError: cannot" in capsys.readouterr().out


def test_rows_measured_again_replace_those_of_a_file(tmp_path):
    path = tmp_path / "accuracy-cpu-1.json"
    assert run("(hinge_loss|absolute_error)", "--json", str(path)) == 0
    before, header = accuracy_results.read(path)
    assert run("absolute_error", "--json", str(path), "--update") == 0
    after, again = accuracy_results.read(path)
    assert (after, again["command"]) == (before, header["command"])
    (update,) = again["updates"]
    assert update["command"].endswith("--update")
    # Of other versions nothing is mixed in.
    path.write_text(path.read_text().replace('"optax": "', '"optax": "0.0.'))
    assert run("absolute_error", "--json", str(path), "--update") == 2


def test_nothing_matches(capsys):
    assert run("no such row") == 2
    assert "no row matches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "twin"),
    [
        ("absolute_error", "no twin"),
        ("sigmoid_binary_cross_entropy[pos_weight]", "refuses"),
    ],
)
def test_what_has_no_twin(row, twin):
    (case,) = (case for case in CASES if case.id == row)
    found = accuracy.measure(case)[1]
    assert found.twin == twin and not found.found


def errors(wrong=0):
    return Errors(1e-7, 1e-8, 1.0, 0.5, 0.1, wrong, 4)


def rows(ours=(0, 0), theirs=(0, 0)):
    """Two losses, of which the second has no Hessian."""
    names = ("float32 unit value", "float32 wide value", "float32 unit Hessian")
    found = []
    for loss, keys in (("a", names), ("b", names[:2])):
        for library, wrong in ((OURS, ours), (TWIN, theirs)):
            entries = {key: errors() for key in keys}
            entries[names[1]] = errors(wrong["ab".index(loss)])
            found.append(Row(loss, loss, library, entries))
    return found


def test_a_loss_counts_when_it_is_right_at_all_scales():
    lines = accuracy_results.summary(rows(theirs=(1, 0)))[1::3]
    assert [", ".join(line) for line in lines] == [
        "jaxloss, all 2 losses, float32, 2 of 2, 0 of 0, 0 of 0, 1 of 1, 2 of 2",
        "jaxloss, the 2 with a twin in optax, "
        "float32, 2 of 2, 0 of 0, 0 of 0, 1 of 1, 2 of 2",
        "optax, these 2, float32, 1 of 2, 0 of 0, 0 of 0, 1 of 1, 1 of 2",
    ]


def test_what_is_outside_is_named():
    assert "none of jaxloss" in accuracy_report.outside(rows(theirs=(1, 1)), "float32")
    text = accuracy_report.outside(rows(ours=(0, 2)), "float32")
    assert text == "Outside in float32: `b` (value wide)."


def test_what_a_twin_refuses_it_does_not_hold():
    found = rows()
    found[1] = Row("a", "a", TWIN, twin="refuses", notes={"float32": "no"})
    found[3] = Row("b", "b", TWIN, twin="no twin")
    lines = accuracy_results.summary(found)
    assert lines[-3][:3] == ["optax, these 1", "float32", "0 of 1"]
    assert lines[4][:3] == ["jaxloss, the 1 with a twin in optax", "float32", "1 of 1"]


def test_what_is_not_finite_survives_the_file(tmp_path):
    found = rows()
    found[0].found["float32 unit value"] = errors()._replace(worst=None, wrong=1)
    path = tmp_path / "accuracy-cpu-1.json"
    accuracy_results.write(path, found, {"a": 1})
    assert accuracy_results.read(path) == (found, {"a": 1})
    assert accuracy_report.cell(found[0], "float32", "value") == "**not finite**"
    assert report.section_of(path) is report.ACCURACY


COMMITTED = report.ACCURACY.newest()


def test_the_committed_atlas_has_every_loss():
    assert COMMITTED is not None
    found, header = accuracy_results.read(COMMITTED)
    assert {row.loss for row in found} == {case.name for case in CASES}
    measured = {row.row: row for row in found if row.library == OURS}
    for case in accuracy.first_rows():
        row = measured[case.id]
        quantities = QUANTITIES if case.hessian else QUANTITIES[:-1]
        # Where the formula itself divides by zero nothing is measured.
        assert set(row.notes.values()) <= {"the formula divides by zero there"}
        assert set(row.found) | set(row.notes) == {
            f"{dtype} {scale} {quantity}"
            for dtype in accuracy_results.DTYPES
            for scale in case.scales
            for quantity in quantities
        }
    assert json.loads(COMMITTED.read_text())["errors"] == list(Errors._fields)
    assert header["command"].startswith("python -m benchmarks.accuracy ")
    assert "--only" not in header["command"]


def test_the_committed_atlas_is_what_the_library_gives():
    """One row again, to the digits of the file where the machine is the same."""
    assert COMMITTED is not None
    found, _ = accuracy_results.read(COMMITTED)
    (case,) = (case for case in accuracy.first_rows() if case.name == "hinge_loss")
    before = next(row for row in found if row.row == case.id and row.library == OURS)
    after = accuracy.measure(case)[0]
    assert set(after.found) == set(before.found)
    for key, now in after.found.items():
        # A fused multiply-add, or none, moves a result by a unit in its last place.
        assert now.worst_units <= before.found[key].worst_units + 1, key
    assert jnp.isfinite(jnp.asarray([e.worst for e in after.found.values()])).all()
