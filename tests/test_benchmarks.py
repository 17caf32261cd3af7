"""The benchmarks run, check their answers and report: nothing here is timed."""

import dataclasses
import json
from pathlib import Path

import optax
import pytest

from benchmarks import (
    __main__ as command,
    inputs,
    measure,
    registry,
    report,
    results,
    run,
    speed_report,
)


def first_cases(entry: registry.Entry) -> list[registry.Case]:
    """The entry at its first shape: at tiny sizes its shapes differ in name only."""
    shape = entry.shapes[0]
    return [registry.Case(entry, shape, "float32", m, small=True) for m in entry.modes]


@pytest.mark.parametrize(
    "entry",
    registry.REGISTRY,
    ids=[f"{e.loss}-{e.shapes[0]}" for e in registry.REGISTRY],
)
def test_every_entry_gives_the_right_answer(entry: registry.Entry) -> None:
    for case in first_cases(entry):
        result = measure.measure(case, timed=False)
        assert result.status == "checked", f"{case.name}: {result.note}"


def test_every_optax_loss_is_measured_or_excused() -> None:
    public = {n for n in dir(optax.losses) if callable(getattr(optax.losses, n))}
    measured = {entry.loss for entry in registry.REGISTRY}
    assert public == measured | set(registry.UNMEASURED)
    assert not measured & set(registry.UNMEASURED)


def test_every_shape_is_used_and_known() -> None:
    used = {shape for entry in registry.REGISTRY for shape in entry.shapes}
    assert used == set(inputs.SHAPES)


def test_inputs_are_the_same_every_time() -> None:
    case = first_cases(registry.REGISTRY[0])[0]
    once = case.arguments()
    inputs.make.cache_clear()
    again = case.arguments()
    assert [a.tolist() for a in once] == [a.tolist() for a in again]


@pytest.fixture
def squared() -> registry.Case:
    entry = next(e for e in registry.REGISTRY if e.loss == "squared_error")
    return first_cases(entry)[0]


def test_a_wrong_answer_is_refused(
    squared: registry.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = registry.Entry.find

    def almost(self: registry.Entry, module: str):
        loss = right(self, module)
        assert loss is not None
        return loss if module == measure.TWIN else lambda *a: loss(*a) * (1 + 1e-4)

    monkeypatch.setattr(registry.Entry, "find", almost)
    result = measure.measure(squared)
    assert result.status == "wrong"
    assert "loss off by 1.0e-04, allowed 2.0e-05" in result.note
    assert result.ours is None


def test_a_missing_loss_is_reported(squared: registry.Case) -> None:
    entry = dataclasses.replace(squared.entry, loss="no_such_loss")
    result = measure.measure(dataclasses.replace(squared, entry=entry))
    assert (result.status, result.note) == ("missing", "jaxloss has no such name")


def test_compulsory_traffic(squared: registry.Case) -> None:
    loss = squared.entry.find("jaxloss")
    assert loss is not None
    rows, classes = squared.dims
    # Two float32 operands in, a float32 mean out.
    assert squared.compulsory_bytes(loss) == 2 * 4 * rows * classes + 4
    gradient = dataclasses.replace(squared, mode="value_and_grad", dtype="bfloat16")
    # Two bfloat16 operands in; one bfloat16 gradient and a float32 mean out.
    assert gradient.compulsory_bytes(loss) == 3 * 2 * rows * classes + 4


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Command line to JSON to picture; then what was written is read back."""
    path, picture = tmp_path / "run.json", tmp_path / "run.png"
    command = ["--small", "--repeats", "2", "--only", "^hinge_loss/criteo/float32"]
    status = run.main([*command, "--json", str(path), "--plot", str(picture)])
    shown = capsys.readouterr().out
    assert status == 0, shown
    assert "2 compared, geometric mean" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows, environment = results.read(path)
    assert [r.name for r in rows] == [
        "hinge_loss/criteo/float32/forward",
        "hinge_loss/criteo/float32/value_and_grad",
    ]
    assert all(r.status == "measured" and r.pairs == 2 for r in rows)
    assert environment["command"].startswith("python -m benchmarks --small")
    assert set(environment["versions"]) == {"jax", "jaxlib", "optax", "jaxloss"}


def test_one_command_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (module, _) in command.PROGRAMS.items():
        assert f"  {name} " in shown
        with pytest.raises(SystemExit) as stopped:
            command.main([name, "--help"])
        assert stopped.value.code == 0
        usage = capsys.readouterr().out
        wanted = ["--only", "--json", "--plot"]
        if name in ("compare", "report"):
            wanted = ["--only"] if name == "compare" else ["--write"]
        assert all(option in usage for option in wanted), (name, module)
    assert command.main(["no-such-program"]) == 2
    assert "no program 'no-such-program'" in capsys.readouterr().err


@pytest.mark.parametrize("given", [[], ["losses"]], ids=["options alone", "losses"])
def test_options_alone_are_those_of_the_losses(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    options = ["--small", "--repeats", "1", "--only", "^hinge_loss/criteo/float32/f"]
    assert command.main([*given, *options, "--json", str(path)]) == 0
    assert [r.loss for r in results.read(path)[0]] == ["hinge_loss"]
    written = results.read(path)[1]["command"]
    assert written.startswith("python -m benchmarks --small")


def test_nothing_matches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "no such case"]) == 2
    assert "no case matches" in capsys.readouterr().out


def side(median: float, temp: int) -> results.Side:
    return results.Side(median, 0.0, 1.0, 0.1, temp, 4, 1e-7)


ROW = results.Result(
    "hinge_loss",
    "digits",
    (64, 10),
    "float32",
    "forward",
    status="measured",
    ours=side(1.0, 100),
    theirs=side(2.0, 4_000_000),
    ratio=2.0,
    ratio_spread=0.1,
)
HEADER = {
    "platform": "cpu",
    "cpu": "A processor",
    "cores": 2,
    "versions": {"jax": "1", "jaxloss": "2"},
    "python": "3.11.0",
    "date": "2026-01-02T03:04:05Z",
    "command": "python -m benchmarks",
}


def test_summary_counts_what_is_slow_or_large() -> None:
    slow = ROW.but(shape="gpt2", ratio=0.5, ours=side(4.0, 5_000_000))
    absent = ROW.but(shape="llama3", status="missing", ours=None, ratio=None)
    found = results.summarise([ROW, slow, absent])
    assert (found.measured, found.compared) == (2, 2)
    assert found.geometric_mean == pytest.approx(1.0)
    assert found.minimum == 0.5
    assert found.slow == found.more_memory == ["hinge_loss/gpt2/float32/forward"]
    assert len(found.not_measured) == 1


def test_report_renders_the_same_text_every_time() -> None:
    other = ROW.but(shape="imagenet", dims=(4096, 1000), ratio=8.0)
    alone = ROW.but(dtype="bfloat16", theirs=None, ratio=None)
    text = speed_report.render([ROW, other, alone], HEADER)
    line = "| `hinge_loss` | digits, imagenet | 4.00 (2.00) | only ours |  |  |"
    assert f"{line} 100 B / 4 MB |" in text
    assert "optax takes 4.00 times as long as jaxloss" in text
    assert "A processor, 2 cores; jax 1, jaxloss 2, Python 3.11.0; 2026-01-02" in text
    assert speed_report.render([ROW, other, alone], HEADER) == text


def test_report_writes_between_the_markers_and_checks(tmp_path: Path) -> None:
    data, readme = tmp_path / "cpu-1.json", tmp_path / "README.md"
    rows = [dataclasses.asdict(ROW)]
    data.write_text(json.dumps({"environment": HEADER, "results": rows}))
    said: list[str] = []

    def report_main(flag: str) -> int:
        return report.main([str(data), flag], readme, said.append)

    readme.write_text("no markers")
    assert report_main("--write") == 2
    readme.write_text(f"top\n{report.SPEED.begin}\nold\n{report.SPEED.end}\nbottom\n")
    assert report_main("--check") == 1
    assert "run with --write" in said[0]
    assert report_main("--write") == 0
    assert report_main("--check") == 0
    text = readme.read_text()
    assert text.startswith("top\n") and text.endswith(f"{report.SPEED.end}\nbottom\n")
    assert "old" not in text and "`hinge_loss`" in text
    assert report.SPEED.newest(tmp_path) == data


@pytest.mark.parametrize("section", report.SECTIONS, ids=lambda s: s.name)
def test_the_readme_shows_the_committed_results(section: report.Section) -> None:
    newest = section.newest()
    if newest is None:
        pytest.skip(f"no results of the section {section.name!r} are committed yet")
    assert report.main([str(newest), "--check"]) == 0
