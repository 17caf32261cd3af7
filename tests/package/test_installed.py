"""The wheel, installed into an environment of its own and used outside the checkout.

The tests stand in order: the first sees the wheel with nothing but what it requires.
"""

import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import venv

import pytest

from tests.package.conftest import ROOT

PROGRAM = """
import importlib.util, json

import jax, jax.numpy as jnp
import jaxloss

labels = jnp.array([0, 1])
loss, gradient = jax.value_and_grad(
    lambda x: jaxloss.softmax_cross_entropy_with_integer_labels(x, labels).sum()
)(jnp.array([[20.0, 0.0], [0.0, 0.0]]))
fused = jaxloss.linear_softmax_cross_entropy(jnp.ones((2, 3)), jnp.ones((3, 8)), labels)
print(json.dumps({
    "file": jaxloss.__file__,
    "version": jaxloss.__version__,
    "optax": importlib.util.find_spec("optax") is not None,
    "numbers": [float(loss), float(gradient[1, 0]), float(fused)],
}))
"""


class Environment:
    """A virtual environment, and a folder with nothing of the checkout."""

    def __init__(self, folder: pathlib.Path):
        self.outside = folder / "outside"
        self.outside.mkdir()
        venv.create(folder / "venv", with_pip=True)
        self.python = folder / "venv" / "bin" / "python"

    def run(self, *arguments: str) -> str:
        """What `python *arguments` prints, without any option that we have set."""
        ours = "PYTHON", "PYTEST", "JAX", "XLA"
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.outside,
            env=theirs | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def install(self, what: str) -> None:
        self.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", what)

    def has(self, file: str) -> bool:
        """Whether a file is where this environment keeps what was installed."""
        path = pathlib.Path(file)
        lies_within = path.is_relative_to(self.python.parents[1] / "lib")
        return lies_within and "site-packages" in path.parts and path.is_file()


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(str(wheel))
    return environment


def test_what_it_requires_is_enough(environment, wheel):
    found = json.loads(environment.run("-W", "error", "-c", PROGRAM))
    assert not found["optax"]
    assert environment.has(found["file"])
    assert environment.has(str(pathlib.Path(found["file"]).with_name("py.typed")))
    assert wheel.name.startswith(f"jaxloss-{found['version']}-")
    expected = [math.log1p(math.exp(-20)) + math.log(2), 0.5, math.log(8)]
    assert found["numbers"] == pytest.approx(expected, rel=5e-7)


def test_pip_finds_no_conflict(environment):
    assert environment.run("-m", "pip", "check").startswith("No broken requirements")


def test_optax_suite_passes(environment, wheel):
    """The suite's runner is copied: it is no part of the wheel, as jaxloss is."""
    environment.install(f"{wheel}[tests]")
    target = environment.outside / "tests"
    target.mkdir()
    shutil.copy(ROOT / "tests" / "__init__.py", target)
    cached = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        ROOT / "tests" / "optax_suite", target / "optax_suite", ignore=cached
    )
    printed = environment.run("-m", "tests.optax_suite", "-n", "2")
    (file,) = re.findall(r"^jaxloss \S+ of (.+)$", printed, re.MULTILINE)
    assert environment.has(file)
    (counts,) = re.findall(
        r"^(\d+) names replaced, (\d+) of them", printed, re.MULTILINE
    )
    names, called = map(int, counts)
    assert called == names > 30
