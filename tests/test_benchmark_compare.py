"""`benchmarks.compare` tells a change from noise, and refuses to mix devices."""

import json

import pytest

from benchmarks import compare, heads

HEADER = {
    "platform": "cpu",
    "device": "cpu",
    "cpu": "A processor",
    "cores": 2,
    "versions": {"jax": "1"},
    "python": "3.11.0",
    "date": "2026-01-02T03:04:05Z",
    "command": "python -m benchmarks",
}


def loss(name, seconds, spread, ratio=None, ratio_spread=None, temp=0):
    side = {"median_seconds": seconds, "spread_seconds": spread, "temp_bytes": temp}
    return {
        "loss": name,
        "shape": "digits",
        "dtype": "float32",
        "mode": "forward",
        "ours": side,
        "ratio": ratio,
        "ratio_spread": ratio_spread,
    }


@pytest.fixture
def compared(tmp_path, capsys):
    def run(old, new, *options, header=HEADER):
        paths = []
        for name, rows, environment in (("old", old, HEADER), ("new", new, header)):
            paths.append(tmp_path / f"{name}.json")
            body = {"environment": environment, "results": rows}
            paths[-1].write_text(json.dumps(body))
        status = compare.main([*map(str, paths), *options])
        shown = capsys.readouterr()
        return status, " ".join((shown.out + shown.err).split())

    return run


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        (1.0, "within the noise"),
        (1.19, "within the noise"),
        (1.21, "slower"),
        (0.84, "within the noise"),
        (0.8, "faster"),
    ],
)
def test_a_change_is_larger_than_both_spreads(compared, new, verdict):
    # A tenth of the median in each run.
    rows = [[loss("a", s, s / 10)] for s in (1.0, new)]
    status, shown = compared(*rows)
    assert status == 0
    assert f"{1 / new:.2f} ±0.20 │ {verdict}" in shown


def test_what_slows_the_machine_is_no_change(compared):
    """Twice the time, but the twin's too."""
    old = [loss("a", 1.0, 0.01, 3.0, 0.03), loss("b", 1.0, 0.01, 3.0, 0.03)]
    new = [loss("a", 2.0, 0.02, 3.0, 0.03), loss("b", 2.0, 0.02, 1.5, 0.03)]
    status, shown = compared(old, new)
    assert status == 0
    assert "2 compared: 0 faster, 1 slower, 1 within the noise" in shown
    # The slowest first.
    assert shown.index("b/digits") < shown.index("a/digits")


def test_what_is_in_one_run_only_and_what_needs_more_memory(compared):
    old = [loss("a", 1.0, 0.1, temp=1000), loss("gone", 1.0, 0.1)]
    new = [loss("a", 1.0, 0.1, temp=2_000_000), loss("added", 1.0, 0.1)]
    status, shown = compared(old, new)
    assert status == 0
    assert "1 kB → 2 MB" in shown
    assert "only in the old run: gone/" in shown
    assert "only in the new run: added/" in shown
    assert "1 compared" in compared(old, old, "--only", "^a/")[1]


def test_different_devices_are_refused_unless_forced(compared):
    rows = [loss("a", 1.0, 0.1)]
    other = HEADER | {"cpu": "Another processor"}
    status, shown = compared(rows, rows, header=other)
    assert status == 2
    assert "not the same device" in shown and "Another processor" in shown
    status, shown = compared(rows, rows, "--force", header=other)
    assert status == 0
    assert "not the same cpu: A processor and Another processor" in shown
    # Other versions are what is compared, as a rule.
    assert compared(rows, rows, header=HEADER | {"versions": {"jax": "2"}})[0] == 0


def test_files_of_other_benchmarks(tmp_path, capsys):
    path = tmp_path / "heads.json"
    command = ["--shape", "small", "--rounds", "2", "--json", str(path)]
    assert heads.main(command) == 0
    capsys.readouterr()
    assert compare.main([str(path), str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "small, jaxloss" in shown
    assert "0 faster, 0 slower" in shown


def test_what_is_no_file_of_a_benchmark_is_refused(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert compare.main([str(path), str(path)]) == 2
    assert compare.main([str(tmp_path / "missing.json"), str(path)]) == 2
    assert "benchmarks.compare: KeyError" in capsys.readouterr().err
