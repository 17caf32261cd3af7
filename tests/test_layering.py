"""The house: who may import whom, and what `import jaxloss` brings along."""

import ast
import pathlib
import subprocess
import sys

import pytest

import jaxloss

ROOT = pathlib.Path(jaxloss.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Each layer may import those after it.
ORDER = ["", "_linear", "_losses", "_kernels", "_core"]
RUNTIME = {"jax", "jaxlib", "numpy", "jaxtyping", "jaxloss"} | sys.stdlib_module_names


def imported(path: pathlib.Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def layer(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[1].startswith("_") else ""


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_imports_go_one_way(path: pathlib.Path):
    own = ".".join(["jaxloss", *path.relative_to(ROOT).parent.parts, path.stem])
    own = own.removesuffix(".__init__")
    place = ORDER.index(layer(own))
    for name in imported(path):
        assert name.split(".")[0] in RUNTIME, f"{path} imports {name}"
        assert not name.startswith("jax._src"), f"{path} imports {name}"
        if name.startswith("jaxloss."):
            assert ORDER.index(layer(name)) >= place, f"{path} imports {name}"
            if layer(name) == layer(own) == "_losses":
                raise AssertionError(f"families do not import each other: {path}")


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_files_are_small_and_have_names(path: pathlib.Path):
    # A list of names, one a line, is no code.
    if path != ROOT / "__init__.py":
        assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in {"utils", "util", "misc", "helpers", "common"}


def test_import_brings_neither_pallas_nor_optax():
    program = (
        "import sys, jax; before = set(sys.modules); import jaxloss; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new)); "
        "assert not any('pallas' in m for m in set(sys.modules) - before); "
        "assert not {'optax', 'chex', 'flax', 'scipy'} & new"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
