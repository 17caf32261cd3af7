"""`benchmarks.kernels` runs, refuses to time what is wrong, and says what it found."""

import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import kernels


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
