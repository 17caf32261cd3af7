"""`benchmarks.memory` states what the compiler states, and the README shows it."""

import re

import pytest

from benchmarks import memory, memory_results, report


def test_a_whole_run(tmp_path, capsys):
    path, picture = tmp_path / "memory-1.json", tmp_path / "memory-1.png"
    command = ["--only", "cpu/gpt2/(1024|4096)/(jaxloss|optax, full logits)$"]
    assert memory.main([*command, "--json", str(path), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines, header = memory_results.read(path)
    assert header["command"].startswith("python -m benchmarks.memory --only")
    of = memory_results.panels(lines)["cpu", "gpt2"]
    head = memory_results.HEADS["gpt2"]
    for tokens in (1024, 4096):
        # Full logits are there twice, in float32: themselves and their derivative.
        assert of[memory_results.FULL][tokens] >= 2 * 4 * tokens * head.classes
        assert of[memory_results.OURS][tokens] < of[memory_results.FULL][tokens]
    # Four times the tokens: four times the logits, and the same chunk.
    full, ours = of[memory_results.FULL], of[memory_results.OURS]
    assert full[4096] == pytest.approx(4 * full[1024], rel=0.01)
    assert ours[4096] < 1.1 * ours[1024]
    picture.unlink()
    assert memory.main(["--results", str(path), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = memory_results.render(path)
    assert "| 4,096 |" in text
    assert "| 4,096 |" not in memory_results.render(path, memory_results.SHOWN)
    assert "![Temporary memory against tokens](benchmarks/results/memory-1.png)" in text
    shown = re.findall(
        r"^\| cpu \| .* \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", text, re.M
    )
    assert shown == [
        (f"{t:,}", memory_results.mib(ours[t]), memory_results.mib(full[t]))
        for t in (1024, 4096)
    ]


def test_nothing_matches(capsys):
    assert memory.main(["--only", "no such program"]) == 2


def test_the_committed_figures_are_what_the_compiler_states():
    newest = report.MEMORY.newest()
    assert newest is not None
    lines, _ = memory_results.read(newest)
    assert newest.with_suffix(".png").exists()
    for line in lines:
        if (line.target, line.head, line.tokens) == ("cpu", "gpt2", 4096):
            again = memory.measure("cpu", "gpt2", 4096, line.contender)
            assert again.temp_bytes == pytest.approx(line.temp_bytes, rel=0.05)
