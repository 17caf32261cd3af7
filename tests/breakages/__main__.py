"""Breaks the library on purpose, one change at a time, and expects a failure.

`python -m tests.breakages` copies the package, makes one change in the copy (a formula,
a mask, a dtype rule, a derivative, a check) and runs the usual tests named for it. A
change that no test notices is printed as SURVIVED, and the exit status is 1.
`--only WORD` runs the changes whose description, file or family contains the word;
`--jobs N` several at a time.
"""

import argparse
import importlib
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import tests.breakages
from tests.breakages import ROOT, Breakage


def families() -> dict[str, list[Breakage]]:
    """The changes, by the name of the module that lists them."""
    return {
        info.name: importlib.import_module(f"tests.breakages.{info.name}").BREAKAGES
        for info in pkgutil.iter_modules(tests.breakages.__path__)
        if info.name != "__main__"
    }


def noticed(breakage: Breakage) -> tuple[bool, str]:
    """Whether the usual tests fail on the changed copy, and by which test."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(ROOT / "jaxloss", copy / "jaxloss")
        shutil.copytree(ROOT / "tests", copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "jaxloss" / breakage.file
        path.write_text(breakage.applied(path.read_text()))
        files, _, words = breakage.tests.partition(" -k ")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
                *("-m", "not exhaustive"),
                *files.split(),
                *(["-k", words] if words else []),
            ],
            cwd=copy,
            env={
                **os.environ,
                "PYTHONPATH": str(copy),
                "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    # 1 says that tests failed; anything else, such as no test of that name, that the
    # change was not tried.
    if done.returncode not in (0, 1):
        return False, f"pytest ended with {done.returncode}: {done.stdout[-300:]}"
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    by = failed[0].removeprefix("FAILED ").split(" - ")[0] if failed else ""
    return done.returncode == 1, by


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    chosen = [
        breakage
        for family, breakages in families().items()
        for breakage in breakages
        if any(arguments.only in t for t in (breakage.what, breakage.file, family))
    ]
    survived = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for breakage, (seen, by) in zip(chosen, pool.map(noticed, chosen), strict=True):
            survived += not seen
            verdict = "noticed " if seen else "SURVIVED"
            print(f"{verdict} {breakage.file}: {breakage.what}  {by}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} changes noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
