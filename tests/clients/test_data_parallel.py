"""Two processes, each with its own half of the data, train as one with all of it."""

import jax.numpy as jnp

from tests import processes
from tests.clients import data_parallel


def test_losses_and_gradients_are_those_of_one_process():
    # Each compares its own with one device's, or fails.
    first, second = processes.outputs("-m", "tests.clients.data_parallel")
    *_, first = first.splitlines()
    *_, second = second.splitlines()
    assert (first[:8], second[:8]) == ("0 of 2: ", "1 of 2: ")
    losses = [float(number) for number in first[8:].split()]
    assert len(losses) == data_parallel.STEPS and losses[-1] < losses[0]


def test_it_is_not_the_mean_of_the_halves_means():
    params = data_parallel.initial()
    halves = [data_parallel.batch_of(rank) for rank in range(2)]
    naive = sum(data_parallel.objective(params, *half) for half in halves) / 2
    both = [jnp.concatenate(parts) for parts in zip(*halves, strict=True)]
    value = data_parallel.objective(params, *both)
    assert abs(naive - value) > 0.01 * value
