"""What is made of a run of `benchmarks.kernels`: tables, targets and a picture."""

import dataclasses
import json

import numpy as np
from matplotlib.text import Text

from benchmarks import (
    kernels,
    kernels_plot,
    kernels_report,
    kernels_results,
    kernels_targets,
    report,
)
from benchmarks.contest import Line


def test_every_target_is_there():
    names = [target.name for target in kernels_targets.TARGETS]
    assert names == [f"T{i}" for i in range(1, 20)]


HEADER = {
    "platform": "gpu",
    "device": "NVIDIA H200",
    "cores": 1,
    "versions": {"jax": "1.2.3"},
    "python": "3.12.0",
    "date": "2026-01-02T03:04:05Z",
    "command": "python -m benchmarks.kernels",
}
HEAD, BOTH, MIB = "head, llama3, 4096", "value and both gradients", 2**20


def line(contender, milliseconds, mib=None, problem=HEAD, task=BOTH, **more):
    size = None if mib is None else mib * MIB
    given = {"status": "measured", "seconds": 1e-3 * milliseconds, "temp_bytes": size}
    return Line(problem, task, contender, **given | more)


WRONG = {"status": "wrong", "note": "by 0.5: not timed", "seconds": None}
LINES = [
    line("jaxloss, xla", 20.0, 900, error=1e-3, share=0.75),
    line("jaxloss, mosaic_gpu", 10.0, 1000, error=2e-3, share=0.5, teraflops=400.0),
    line("tokamax, xla", 20.0, 4000, share=0.25),
    line("tokamax, chunked_xla", 26.0, 4000, share=0.2),
    line("Liger", 0.0, **WRONG),
    line("cut-cross-entropy, exact", 30.0),
    line("QuACK", 0.0, status="refuses", note="a long story", seconds=None),
    line("QuACK, in small", 40.0),
    line("a matmul", 5.0, task="one matmul", teraflops=800.0),
    line("jaxloss, xla", 1.5, 1, "llama3", "value and gradient", share=0.4),
    line("optax", 3.0, 1, "llama3", "value and gradient", share=0.2),
    line("jaxloss, xla", 1.0, 1, "llama3", "value", error=1e-7, share=0.6),
]


def judged(lines=LINES, **header):
    return {
        cells[0]: cells[3:] for cells in kernels_targets.cells(lines, HEADER | header)
    }


def test_targets_are_judged_by_the_fastest_of_ours():
    found = judged()
    assert found["T1"] == ["10 ms (jaxloss, mosaic_gpu)", "yes"]
    assert found["T4"] == ["2.00 times tokamax, xla, 1,000 MiB to 4,000 MiB", "yes"]
    assert found["T5"] == ["2.60 times tokamax, chunked_xla", "no"]
    assert found["T7"] == ["3.00 times cut-cross-entropy, exact", "yes"]
    assert found["T10"] == ["1.5 ms (jaxloss, xla)", "no"]
    assert found["T11"] == ["2.00 times optax", "yes"]
    assert found["T12"] == ["1.0e-07", "yes, of logits"]
    assert found["T13"] == ["2.0e-03", "yes, of one chunk"]
    # Liger was wrong, and nobody asked for less memory, or for other problems.
    for name in ("T2", "T3", "T6", "T8", "T9", "T15", "T16", "T17", "T18", "T19"):
        assert found[name] == ["not in this run", ""]


def test_all_of_a_target_must_be_reached():
    """On every problem, and of memory as much as of time."""
    other = "head, llama3, 8192"
    more = [
        line("jaxloss, least memory", 57.0, 300, other),
        line("jaxloss, xla", 9.0, 2040, other),
        line("tokamax, xla", 18.0, 6119, other),
    ]
    measured, reached = judged([*LINES, *more])["T4"]
    assert measured.startswith(f"{HEAD}: 2.00 times") and f"{other}: 2.00" in measured
    assert reached == "no"
    more[2].temp_bytes = 6120 * MIB
    found = judged([*LINES, *more])
    assert found["T4"][1] == "yes"
    # The one of least memory has a target of its own.
    assert found["T8"] == ["2,040 MiB (jaxloss, xla)", "yes"]
    assert found["T9"] == ["300 MiB, 57 ms", "yes"]
    more[2].seconds = 9e-3
    more[0].temp_bytes = 385 * MIB
    found = judged([*LINES, *more])
    assert found["T4"][1] == "no"
    assert found["T9"] == ["385 MiB, 57 ms", "no"]
    more[0].temp_bytes, more[0].seconds = 300 * MIB, 59e-3
    assert judged([*LINES, *more])["T9"] == ["300 MiB, 59 ms", "no"]


def test_a_target_of_a_device_is_judged_on_it_alone():
    assert judged(device="NVIDIA H100")["T1"] == ["10 ms (jaxloss, mosaic_gpu)", ""]
    assert judged(device="NVIDIA H100")["T11"][1] == "yes"
    assert {cells[1] for cells in judged(platform="cpu").values()} == {""}


def written(path, lines=LINES):
    body = {
        "environment": HEADER,
        "problems": {
            HEAD: {"rows": 4096, "hidden": 8, "classes": 300},
            "llama3": {"rows": 16, "classes": 300},
        },
        "results": [dataclasses.asdict(line) for line in lines],
    }
    path.write_text(json.dumps(body))
    return path


def test_the_readme_has_the_fastest_of_each_and_what_is_wrong(tmp_path):
    text = kernels_report.render(written(tmp_path / "kernels-h200-1.json"))
    assert "GPU: 1 NVIDIA H200; jax 1.2.3, Python 3.12.0; 2026-01-02." in text
    assert (
        f"| {HEAD} | {BOTH} | 10.0 ms, 50% | 20.0 ms, 75% |  | 20.0 ms, 25% | "
        "wrong by 0.5: not timed | 30.0 ms | refuses; in small: 40.0 ms |  |  |  |"
        in text
    )
    assert "| llama3 | value and gradient |  | 1.50 ms, 40% | 3.00 ms, 20% |" in text
    assert "| 2.00 | 1.00 MiB / 1.00 MiB |" in text
    assert (
        f"{HEAD}: 4,096 tokens, 8 hidden units, 300 classes; llama3: 16 x 300" in text
    )


def test_the_least_memory_is_no_kernel(tmp_path):
    lines = [line("jaxloss, least memory", 10.0), line("jaxloss, xla", 20.0)]
    text = kernels_report.render(written(tmp_path / "kernels-h200-1.json", lines))
    assert f"| {HEAD} | {BOTH} |  | 20.0 ms |" in text


def test_the_page_has_every_program(tmp_path):
    text = kernels_report.programs(written(tmp_path / "kernels-h200-1.json"))
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    named = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert [name for name in named if name not in ("program", "---")] == [
        line.contender for line in LINES if line.contender != "a matmul"
    ]
    assert "a matmul reached 800 TFLOP/s, at which this takes 5.00 ms" in text
    assert "| tokamax, xla | 20.000 ±0.000 |  | 25% | 2.00 | 4,000 MiB |  |" in text
    assert "| Liger | wrong by 0.5: not timed |" in text
    assert "| QuACK | refuses a long story |" in text
    assert "(benchmarks/results/kernels-h200-1.png)" in text


def test_the_picture_is_made_from_the_file(tmp_path, monkeypatch):
    """The device, the day and the figures are the file's, whatever is here."""
    said = []
    savefig = kernels_plot.plt.Figure.savefig

    def save(figure, *args, **options):
        said.extend(text.get_text() for text in figure.findobj(match=Text))
        savefig(figure, *args, **options)

    monkeypatch.setattr(kernels_plot.plt.Figure, "savefig", save)
    path = written(tmp_path / "kernels-h200-1.json")
    readme = tmp_path / "README.md"
    readme.write_text(f"{report.KERNELS.begin}\n{report.KERNELS.end}\n")
    assert report.main([str(path), "--write"], readme) == 0
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "NVIDIA H200, JAX 1.2.3, 2026-01-02: share of the ceiling (100 %)" in said
    assert {"10.0 ms", "30.0 ms", "wrong by 0.5: not timed", "Liger"} <= set(said)
    assert report.main([str(path), "--check"], readme) == 0
    written(path, [*LINES[:-1], dataclasses.replace(LINES[-1], seconds=0.004)])
    assert report.main([str(path), "--check"], readme) == 1


def test_the_committed_run_has_its_picture_and_its_page():
    newest = report.KERNELS.newest()
    assert newest is not None and newest.with_suffix(".png").exists()
    text = (report.ROOT / "docs" / "kernels.md").read_text()
    for section in report.ON_THE_PAGE:
        assert section.insert(text, "X").count("\nX\n") == 1
    # What the page says of the run in its own words.
    run = kernels_results.read(newest)
    assert (run.header["device"], run.header["date"][:10]) == (
        "NVIDIA H200",
        "2026-11-27",
    )
    assert set(run.problems) == set(kernels.PROBLEMS)
    lines = {(x.problem, x.task, x.contender): x for x in run.lines}

    def head(tokens, contender):
        return lines[f"head, llama3, {tokens}", "value and both gradients", contender]

    fastest = {g.problem: g.ours for g in kernels_results.groups(run.lines)}
    slower = [
        1 / fastest[f"head, llama3, {tokens}"].share for tokens in (4096, 8192, 32768)
    ]
    np.testing.assert_allclose(slower, [1.20, 1.10, 1.05], atol=0.006)
    for tokens, chunk, gain in (
        (4096, "2,048", 0.02),
        (8192, "2,048", 0.10),
        (32768, "8,192", 0.05),
    ):
        theirs = head(tokens, f"QuACK, chunks of {chunk}")
        ours = fastest[f"head, llama3, {tokens}"]
        np.testing.assert_allclose(ours.seconds / theirs.seconds, 1 + gain, atol=0.006)
        assert theirs.error > 3e-3 > 2e-3 > ours.error
        assert head(tokens, "QuACK").status == "refuses"
    lean = head(8192, "jaxloss, least memory")
    # Of four matmuls the share is a third more than of three.
    np.testing.assert_allclose(4 / 3 * lean.share, 0.86, atol=0.006)
    jsd = fastest["JSD, llama3"]
    # Three arrays of the logits' size are what its share counts.
    np.testing.assert_allclose(9 / 3 * jsd.share * jsd.seconds, 4.5e-3, rtol=0.02)
    many = head(32768, "Liger").seconds
    assert head(32768, "jaxloss, mosaic_gpu").seconds > many
    assert head(32768, "jaxloss, mosaic_gpu, bfloat16 logits").seconds < many


def test_a_program_far_above_a_slow_ceiling_stays_in_the_picture(tmp_path):
    """What is said of it too: outside, there would be no room for the picture."""
    lines = [dataclasses.replace(found, share=80.0) for found in LINES[:2]]
    path = tmp_path / "kernels.png"
    kernels_plot.draw(lines, HEADER, path)
    assert path.read_bytes().startswith(b"\x89PNG")
