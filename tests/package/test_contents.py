"""Which files are in the wheel and the sdist: no other, and none missing."""

import pathlib
import shutil
import subprocess
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# Of what git has, what is of no use without git.
NOT_SHIPPED = (".ci/", ".pre-commit-config.yaml")


def files_of_git(*folders: str) -> set[str]:
    """Those committed and those that would be: no caches and nothing built."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("NOT RUN: what is to be shipped is what git has, and here is none")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(
        [*listing, *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = done.stdout.rstrip("\0").split("\0")
    return {name for name in names if (ROOT / name).is_file()}


def test_the_wheel_has_the_package_and_what_describes_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(set(names)) == len(names)
    stem = "-".join(wheel.name.split("-")[:2])
    about = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
    expected = files_of_git("jaxloss") | {f"{stem}.dist-info/{x}" for x in about}
    assert set(names) == expected


def test_the_wheel_is_typed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert "jaxloss/py.typed" in archive.namelist()


def test_the_sdist_has_all_that_git_has(sdist):
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    stem = sdist.name.removesuffix(".tar.gz")
    names = [member.name.removeprefix(f"{stem}/") for member in members]
    assert len(set(names)) == len(names)
    shipped = {n for n in files_of_git() if not n.startswith(NOT_SHIPPED)}
    assert set(names) == shipped | {"PKG-INFO"}


def test_they_hold_what_the_checkout_holds(wheel, sdist):
    stem = sdist.name.removesuffix(".tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        read = archive.read
        assert all(
            read(name) == (ROOT / name).read_bytes()
            for name in archive.namelist()
            if name.startswith("jaxloss/")
        )
        (licence,) = (n for n in archive.namelist() if n.endswith("/LICENSE"))
        assert read(licence) == (ROOT / "LICENSE").read_bytes()
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            name = member.name.removeprefix(f"{stem}/")
            if name != "PKG-INFO":
                file = archive.extractfile(member)
                assert file.read() == (ROOT / name).read_bytes(), name
