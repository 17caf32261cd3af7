"""`benchmarks.kernels` runs, refuses to time what is wrong, and says what it found."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from benchmarks import distillation, kernels


@pytest.fixture(autouse=True)
def as_people_run_it():
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def test_a_whole_run(tmp_path, capsys):
    """Command line to JSON to picture, on this machine."""
    path, picture = tmp_path / "run.json", tmp_path / "run.png"
    command = ["--rounds", "1", "--json", str(path), "--plot", str(picture)]
    assert kernels.main(command) == 0
    shown = capsys.readouterr().out
    assert "No accelerator here" in shown and "T19" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    body = json.loads(path.read_text())
    assert body["environment"]["command"].startswith("python -m benchmarks.kernels --")
    assert {"jax", "jaxlib"} <= set(body["environment"]["versions"])
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

    monkeypatch.setattr(kernels, "logits_losses", almost)
    lines = kernels.measure_logits("gpt2", kernels.Logits(8, 50), 1, 1.0)
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


def test_every_target_is_there():
    assert [name for name, *_ in kernels.TARGETS] == [f"T{i}" for i in range(1, 20)]


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
    lines = kernels.measure(name, kernels.TINY[name], 1, 1.0)
    ours, theirs = lines[0], lines[1]
    assert ours.contender == "jaxloss, xla" and ours.seconds is None
    assert "wrong by" in ours.note or ours.status == "wrong"
    assert theirs.status == "measured" and theirs.seconds
