"""`benchmarks.tiles` times what is right, and says what it would need."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import kernels_heads, tiles
from benchmarks.contest import Contest
from benchmarks.kernels_heads import Head
from benchmarks.kernels_logits import GRADIENT, VALUE
from jaxloss._kernels.softmax_xent import config


@pytest.fixture(autouse=True)
def as_people_run_it():
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def test_without_a_gpu_it_says_so(capsys):
    assert tiles.main([]) == 1
    assert "for GPU" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.parametrize("task", [VALUE, GRADIENT])
def test_wrong_tiles_are_not_timed(monkeypatch, task):
    """In the kernel's place its mathematics, a little off for some tiles."""

    def loss(x, y, factor):
        logs = jax.nn.log_softmax(x.astype(jnp.float32))
        return -factor * jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=1))

    def by_kernel(tiles, slope):
        # In the value a hundred thousandth, of which a gradient would not notice.
        factor = 1.0 if tiles.fast else 1 + 1e-5
        return lambda x, y: (jax.value_and_grad(loss) if slope else loss)(x, y, factor)

    monkeypatch.setattr(tiles, "by_kernel", by_kernel)
    problem = tiles.Tiled(16, 304, task, few=False)
    lines = tiles.measure("p", problem, Contest(1, 1.0))
    assert {line.task for line in lines} == {task}
    of_tiles = [line for line in lines if line.contender.startswith("jaxloss")]
    assert len(of_tiles) > 4
    for line in of_tiles:
        right = "fast=True" in line.contender
        assert line.status == ("measured" if right else "wrong"), line
        assert bool(line.seconds) == right
    names = {line.contender for line in lines if line.status == "measured"}
    assert {"xla", "a copy"} <= names
    assert ("negated in place" in names) == (task == GRADIENT)


@pytest.mark.thorough
def test_chunks_of_a_head():
    kernels_heads.checks.cache_clear()
    lines = tiles.measure("head", Head(24, 8, 300), Contest(1, 1.0))
    by_xla = [line for line in lines if line.contender.startswith("jaxloss, xla")]
    assert len(by_xla) == 6
    assert all(line.status == "measured" and line.teraflops for line in by_xla)
    assert all(
        line.status == "refuses" for line in lines if "mosaic_gpu" in line.contender
    )


def test_the_chosen_tiles_come_first_and_none_twice():
    for classes in (50_257, 128_256):
        for slope in (False, True):
            found = list(tiles.candidates(classes, slope, few=False))
            assert found[0] == config.gpu_tiles(classes, tiles.BITS, slope)
            assert list(tiles.candidates(classes, slope, few=True)) == found[:1]
            assert len(set(found[1:])) == len(found) - 1
