"""`benchmarks.kernels` runs, refuses to time what is wrong, and says what it found."""

import json
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from benchmarks import (
    distillation,
    kernels,
    kernels_data,
    kernels_heads,
    kernels_logits,
)
from benchmarks.contest import MOST_CALLS, Contender, Contest, Entry, Line, compiling


@pytest.fixture(autouse=True)
def as_people_run_it():
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.mark.thorough
def test_a_whole_run(tmp_path, capsys):
    """Command line to JSON to picture, on this machine."""
    path, picture = tmp_path / "run.json", tmp_path / "run.png"
    command = ["--rounds", "1", "--json", str(path), "--plot", str(picture)]
    assert kernels.main(command) == 0
    shown = capsys.readouterr().out
    assert "No accelerator here" in shown and "T19" in shown
    assert "compiling" in shown and "checking" in shown and "timing" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    body = json.loads(path.read_text())
    assert body["environment"]["command"].startswith("python -m benchmarks.kernels --")
    assert {"jax", "jaxlib", "optax"} <= set(body["environment"]["versions"])
    assert set(body["seconds"]) == set(body["problems"]) == set(kernels.TINY)
    names = {row["contender"] for row in body["results"]}
    assert {"jaxloss, interpret", "jaxloss, xla", "optax", "a copy"} <= names
    for row in body["results"]:
        assert row["status"] == "measured", row
        assert row["seconds"] > 0
        assert row["gigabytes_per_second"] or row["teraflops"]


def test_what_is_wrong_is_not_timed(monkeypatch):
    def almost():
        yield "right", lambda x, y: kernels_right(x, y)
        yield "almost", lambda x, y: 1.001 * kernels_right(x, y)
        yield "unable", lambda x, y: undefined()

    def kernels_right(x, y):
        wide = x.astype(jnp.float32)
        at_label = jnp.take_along_axis(wide, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(wide, axis=1) - at_label)

    def undefined():
        raise ValueError("cannot\nat all")

    monkeypatch.setattr(kernels_logits, "losses", almost)
    lines = kernels.measure("gpt2", kernels.Logits(8, 50), Contest(1, 1.0))
    found = {
        (line.contender, line.task): line
        for line in lines
        if line.contender != "a copy"
    }
    for task in ("value", "value and gradient"):
        assert found["right", task].status == "measured"
    assert found["almost", "value"].status == "wrong"
    assert found["almost", "value"].seconds is None
    assert "not timed" in found["almost", "value"].note
    assert found["unable", "value"].status == "refuses"
    assert found["unable", "value"].note == "cannot"


def cross_entropy(x, y):
    logs = jax.nn.log_softmax(x.astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=1))


def few_logits():
    return kernels_data.normal(5, (12, 40), 3.0), kernels_data.labels(6, 12, 40)


def test_a_gradient_is_written_over_the_logits():
    """At first the true ones, which stay what they are; then what was left in them."""
    args = few_logits()
    both = jax.value_and_grad(cross_entropy)
    entry = compiling("in place", both, args, in_place=True)
    truth = kernels_logits.Truth.of(*args)
    contest = Contest()
    contender, *_ = contest.prepare(entry, (), lambda: None)
    value, gradient = contender.run(*args)
    assert truth.error((value, gradient), kernels_logits.GRADIENT) < 2.0**-7
    expected, _ = both(jnp.array(gradient), args[1])
    again, _ = contender.run(*args)
    assert gradient.is_deleted() and not args[0].is_deleted()
    np.testing.assert_allclose(again, expected, rtol=1e-6)
    assert abs(float(again) - float(value)) > 0.1


def test_a_sum_over_blocks_is_that_of_all(monkeypatch):
    monkeypatch.setattr(kernels_data, "BLOCK", 100)
    x, y = few_logits()
    truth = kernels_logits.Truth.of(x, y)
    wide = np.asarray(x).astype(np.float64)
    np.testing.assert_array_equal(kernels_data.wide(x), wide)
    logs = wide - np.log(np.sum(np.exp(wide), axis=1, keepdims=True))
    value = -np.mean(logs[np.arange(12), np.asarray(y)])
    np.testing.assert_allclose(truth.value, value, rtol=1e-12)


def test_every_problem_is_in_the_file_at_once(tmp_path, monkeypatch):
    """Who is stopped in the third problem keeps the first two, one of which failed."""
    path = tmp_path / "deep" / "run.json"

    def measure(name, problem, contest):
        if name == "head, llama3, 4096":
            raise ValueError("no memory\nleft")
        if name == "head, llama3, 8192":
            found = json.loads(path.read_text())
            assert list(found["problems"]) == ["gpt2", "head, llama3, 4096"]
            raise KeyboardInterrupt
        return [kernels.Line(name, "value", "jaxloss, xla", "measured", "", 1.0)]

    monkeypatch.setattr(kernels, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        kernels.main(["--json", str(path)])
    rows = json.loads(path.read_text())["results"]
    assert [(row["status"], row["note"]) for row in rows] == [
        ("measured", ""),
        ("failed", "no memory"),
    ]
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


def test_after_the_limit_nothing_is_begun(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "measure", None)
    assert kernels.main(["--limit", "-1"]) == 1
    assert "Not begun after" in capsys.readouterr().out


def test_after_the_limit_nobody_is_checked_and_no_round_is_begun():
    """Who was there in time has been timed once, and the others are said to be late."""
    contest = Contest(rounds=20, budget=60.0)
    runs = []

    def entry(name):
        def run():
            runs.append(name)
            # The last call before the first round: after it there is no time left.
            if runs.count(name) == 3:
                contest.deadline = 0.0
            return 0.0

        return Entry(name, lambda pool: lambda: Contender(name, run))

    ceiling = compiling("ceiling", lambda: jnp.zeros(3), ())
    beside, started, _ = contest.prepare(ceiling, [entry("a")], lambda: None)
    lines, _ = contest.compete("p", "t", started, (), lambda error: error, 1.0, beside)
    assert lines[0].status == "measured" and runs == ["a"] * (3 + MOST_CALLS)
    _, started, _ = contest.prepare(ceiling, [entry("b")], lambda: None)
    lines, _ = contest.compete("p", "t", started, (), lambda error: error, 1.0, beside)
    assert lines[0].status == "late" and lines[0].seconds is None
    assert "b" not in runs and kernels.status(lines) == 1


def test_who_keeps_the_device_ends_the_run():
    """In a process of its own, which says where it stood."""
    program = """
        import argparse, time
        from benchmarks import kernels

        kernels.GRACE = 0.1
        with kernels.over_in_time(argparse.Namespace(limit=-1.0)):
            pass
        time.sleep(0.3)
        print("in time", flush=True)
        with kernels.over_in_time(argparse.Namespace(limit=0.1)):
            time.sleep(60)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 1 and done.stdout == "in time\n"
    assert "Timeout" in done.stderr and "line 11" in done.stderr


@pytest.mark.thorough
def test_a_part_is_checked_once_for_heads_that_share_it():
    kernels_heads.checks.cache_clear()
    contest = Contest(1, 1.0, without="tokamax|interpret")
    found = {}
    for name in ("head, llama3, 4096", "head, llama3, 8192"):
        for line in kernels.measure(name, kernels.TINY[name], contest)[:-1]:
            found.setdefault(line.contender, []).append(line.error)
    assert set(found) == {
        "jaxloss, xla",
        "jaxloss, xla, bfloat16 logits",
        "jaxloss, least memory",
        "optax, full logits",
    }
    part = kernels_heads.checks(8, 300)
    for name, errors in found.items():
        assert errors == [part.errors[name]] * 2


def test_a_refusal_is_noted_without_its_colours():
    line = Line("p", "t", "c")
    line.refuse("refuses", ValueError("\n\x1b[91m\x1b[1merror:\x1b[0m no IR\nsecond"))
    assert (line.status, line.note) == ("refuses", "error: no IR")
    line.refuse("failed", MemoryError())
    assert line.note == "MemoryError"


def test_who_falls_out_while_timed_is_said_to_have_failed():
    """The others' times stand, and so do three rounds whatever the budget."""
    runs = {"good": 0, "bad": 0, "settling": 0}

    def entry(name, fails_at=1000, settle=None):
        def run():
            runs[name] += 1
            if runs[name] == fails_at:
                raise MemoryError("full")
            return 0.0

        return Entry(name, lambda pool: lambda: Contender(name, run, settle=settle))

    contest = Contest(rounds=20, budget=0.0)
    names = [entry("good"), entry("bad", 3), entry("settling", settle=lambda: 7)]
    ceiling = compiling("ceiling", lambda: jnp.zeros(3), ())
    beside, started, _ = contest.prepare(ceiling, names, lambda: None)
    lines, _ = contest.compete("p", "t", started, (), lambda error: error, 1.0, beside)
    assert [line.status for line in lines] == ["measured", "failed", "measured"]
    assert lines[1].note == "full" and lines[1].seconds is None
    assert lines[2].temp_bytes == 7
    # The answer, two to know how long one takes, and three rounds of many.
    whole = 1 + 2 + 3 * MOST_CALLS
    assert runs == {"good": whole, "bad": 3, "settling": whole}


def test_the_reference_of_a_distillation_is_its_definition():
    rng = np.random.default_rng(0)
    x, t = (rng.normal(size=(5, 7)) for _ in range(2))
    value, gradient = distillation.truth(x, t)
    with jax.enable_x64(True):

        def definition(x):
            q, p = jax.nn.softmax(x), jax.nn.softmax(jnp.asarray(t))
            m = (p + q) / 2
            return jnp.sum(p * jnp.log(p / m) + q * jnp.log(q / m)) / 2

        expected, slope = jax.value_and_grad(definition)(jnp.asarray(x))
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", ["JSD, llama3", "head, JSD, llama3"])
def test_a_wrong_distillation_is_not_timed(monkeypatch, name):
    """Neither of logits nor of heads; theirs beside it is timed all the same."""

    def wrong(*args, **options):
        return 1.2 * distillation.full(args[0] @ args[1], args[2] @ args[3])

    monkeypatch.setattr(jaxloss, "linear_distillation_loss", wrong)
    right = jaxloss.js_divergence
    monkeypatch.setattr(
        jaxloss, "js_divergence", lambda *args, **options: 1.2 * right(*args, **options)
    )
    lines = kernels.measure(name, kernels.TINY[name], Contest(1, 1.0))
    ours, theirs = lines[0], lines[1]
    assert ours.contender == "jaxloss, xla" and ours.seconds is None
    assert "wrong by" in ours.note or ours.status == "wrong"
    assert theirs.status == "measured" and theirs.seconds
