"""What an index would show of the wheel, and what an installer reads."""

import re
import tarfile
import tomllib
import zipfile

import pytest
from packaging.metadata import Metadata

from tests.package.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        return Metadata.from_email(archive.read(name), validate=True)


def test_the_description_is_the_readme(metadata):
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description == (ROOT / "README.md").read_text()
    assert metadata.summary == PROJECT["description"]


def test_who_may_use_it_and_how(metadata):
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.license_files == ["LICENSE"]
    assert metadata.author == "The jaxloss authors"
    assert metadata.keywords


def test_the_classifiers_name_every_python(metadata):
    named = set(metadata.classifiers)
    assert "Typing :: Typed" in named
    assert any(name.startswith("Topic :: Scientific/Engineering") for name in named)
    oldest = int(str(metadata.requires_python).removeprefix(">=3."))
    prefix = "Programming Language :: Python :: 3."
    minors = {int(n.removeprefix(prefix)) for n in named if n.startswith(prefix)}
    assert minors == set(range(oldest, max(minors) + 1))


def test_it_needs_jax_and_little_else(metadata):
    needed = {r.name for r in metadata.requires_dist if r.marker is None}
    assert needed == {"jax", "jaxlib", "jaxtyping", "numpy"}


def test_the_version_is_one(wheel, sdist, metadata):
    version = str(metadata.version)
    assert version == PROJECT["version"]
    assert wheel.name == f"jaxloss-{version}-py3-none-any.whl"
    assert sdist.name == f"jaxloss-{version}.tar.gz"
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [version]
    with tarfile.open(sdist) as archive:
        about = archive.extractfile(f"jaxloss-{version}/PKG-INFO").read()
    assert Metadata.from_email(about, validate=True).version == metadata.version
