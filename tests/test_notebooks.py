"""The notebooks as files: stripped, well formed, and only of the public API.

That they run is for `make notebooks`, which needs Jupyter; this needs none of it.
"""

import ast
import json
import pathlib
import re
import sys

import pytest

import jaxloss
from jaxloss import metrics

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in FILES]
MAY_IMPORT = {"equinox", "flax", "jax", "jaxloss", "keras", "matplotlib", "mpmath"}
MAY_IMPORT |= {"numpy", "optax", "sklearn"} | sys.stdlib_module_names
each = pytest.mark.parametrize("path", FILES, ids=NAMES)


def cells(path: pathlib.Path, kind: str) -> list[dict]:
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tree(path: pathlib.Path) -> ast.Module:
    """The code of all cells, as one module: each has to compile alone."""
    body = []
    for place, cell in enumerate(cells(path, "code")):
        name = f"{path.name}, code cell {place}"
        compile(source(cell), name, "exec")
        body += ast.parse(source(cell), name).body
    return ast.Module(body=body, type_ignores=[])


def attributes(module: ast.Module, of: str) -> set[str]:
    """The names taken from a variable, `of.name`."""
    return {
        node.attr
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == of
    }


def test_there_are_some():
    expected = {"which_loss", "drop_in", "per_example", "large_vocabulary"}
    assert set(NAMES) == expected | {"tpu_benchmark", "preference"}


@each
def test_nothing_of_a_run_is_kept(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == [], source(cell)
        assert cell["execution_count"] is None, source(cell)
    for cell in cells(path, "code") + cells(path, "markdown"):
        assert cell["metadata"] == {}, source(cell)


@each
def test_it_is_well_formed(path):
    book = json.loads(path.read_text())
    assert set(book) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    identifiers = [cell["id"] for cell in book["cells"]]
    assert len(set(identifiers)) == len(identifiers) > 10
    assert {cell["cell_type"] for cell in book["cells"]} == {"code", "markdown"}
    assert source(book["cells"][0]).startswith("# ")
    assert all(source(cell).strip() for cell in book["cells"])
    # Text enough to read it without the code.
    assert len(cells(path, "markdown")) >= 5


@each
def test_only_the_public_api_is_used(path):
    module = tree(path)
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in imported:
            assert name.split(".")[0] in MAY_IMPORT, name
            if name.startswith("jaxloss."):
                assert name == "jaxloss.metrics", name
    for library in (jaxloss, metrics):
        for name in attributes(module, library.__name__.split(".")[-1]):
            assert not name.startswith("_") or name == "__version__", name
            assert hasattr(library, name), f"{library.__name__}.{name}"
    # Also where it stands in a string, or in the text.
    for cell in json.loads(path.read_text())["cells"]:
        assert not re.search(r"jaxloss\._(?!_version__)", source(cell))


@each
def test_what_the_text_names_exists(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    families = r"loss|error|nll|entropy|labels|rewards|probs"
    named = re.findall(rf"`(?:jaxloss\.)?(\w+_(?:{families}))\b[^`]*`", text)
    for name in set(named) - {"log_probs"}:  # the name of an argument
        assert hasattr(jaxloss, name), name


@each
def test_it_checks_what_it_claims(path):
    module = tree(path)
    checks = [node for node in ast.walk(module) if isinstance(node, ast.Assert)]
    assert checks


def test_the_readme_names_each():
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\(notebooks/(\w+)\.ipynb\)", text)) == set(NAMES)
