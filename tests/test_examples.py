"""The examples run, as a user would run them, and say so when they fall short."""

import pathlib
import re
import subprocess
import sys

import pytest

from examples import summary

ROOT = pathlib.Path(__file__).parent.parent


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it in a process of its own, so that JAX is configured as users have it."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def plots(folder: pathlib.Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.png") if p.stat().st_size > 1000)


@pytest.mark.thorough
def test_train_digits(tmp_path):
    losses = ["cross-entropy", "smoothing", "focal"]
    done = run_example(
        "train_digits", "--small", "--loss", *losses, "--out", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for loss in losses:
        assert loss in done.stdout
    assert str(tmp_path / "gradients.png") in done.stdout
    assert plots(tmp_path) == ["accuracies.png", "gradients.png", "losses.png"]


@pytest.mark.thorough
def test_train_digits_fails_below_its_target_accuracy(tmp_path):
    done = run_example("train_digits", "--epochs", "1", "--out", str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is below 95%" in done.stdout


@pytest.mark.thorough
def test_train_digits_refuses_an_unknown_loss(tmp_path):
    done = run_example("train_digits", "--loss", "nonsense", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "nonsense" in done.stderr and "cross-entropy" in done.stderr


@pytest.mark.thorough
def test_train_lm(tmp_path):
    done = run_example("train_lm", "--small", "--tied", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jaxloss.linear_softmax_cross_entropy" in done.stdout
    (row,) = re.findall(r"temporaries, loss alone.*", done.stdout)
    full, fused, _ = map(float, re.findall(r"\d+\.\d+", row))
    assert fused < full / 2
    assert str(tmp_path / "lm_losses.png") in done.stdout
    assert plots(tmp_path) == ["lm_losses.png", "lm_memory.png"]


@pytest.mark.thorough
def test_train_lm_fails_where_the_losses_differ(tmp_path):
    arguments = ["--small", "--steps", "1", "--bound", "-1", "--out", str(tmp_path)]
    done = run_example("train_lm", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "more than rounding apart" in done.stdout


def test_the_summary_says_what_both_measured(tmp_path):
    runs = [
        {"loss": "cross-entropy", "held_out_accuracy": 0.9777, "seconds": 3.6},
        {"loss": "focal", "held_out_accuracy": 0.965, "seconds": 4.5},
    ]
    heads = [
        {
            "head": name,
            "held_out": 5.25,
            "memory_of_loss": memory * 2**20,
            "memory_of_step": 2 * memory * 2**20,
            "seconds": seconds,
        }
        for name, memory, seconds in (("full", 400, 0.9), ("fused", 100, 0.6))
    ]
    missing = run_example("summary", "--out", str(tmp_path))
    assert missing.returncode == 1 and "examples.train_digits" in missing.stdout
    digits = {"digits": 1437, "epochs": 20, "runs": runs, "plots": ["losses.png"]}
    summary.write(tmp_path, "train_digits", digits)
    sizes = {"tokens": 2048, "classes": 32768, "steps": 60}
    summary.write(tmp_path, "train_lm", sizes | {"runs": heads, "plots": ["lm.png"]})
    done = run_example("summary", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.replace("│", " ").split())
    assert "96.5% to 97.8%, 2 losses" in shown
    assert "100 MiB against 400 MiB: 4.0 times less" in shown
    assert "600 ms against 900 ms: 1.5 times less" in shown
    whole = shown.replace(" ", "")
    assert str(tmp_path / "losses.png") in whole and str(tmp_path / "lm.png") in whole
