"""Does anything notice? Breaks the library on purpose, one change at a time.

`python -m tests.breakages` copies the package, makes one change in the copy (a formula,
a mask, a dtype rule, a derivative, a check), runs the tests named for it, and expects a
failure. A change that no test notices is printed as SURVIVED, and the exit status is 1.
`--only WORD` runs the changes whose description or file contains the word.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parent.parent


@dataclass(frozen=True)
class Breakage:
    """One change of one file, and where it must be noticed."""

    what: str
    file: str
    old: str
    new: str
    tests: str
    """Arguments of pytest."""


LAWS = "tests/test_laws.py tests/test_accuracy.py"
INTEGER = f"{LAWS} tests/test_softmax.py -k integer"

BREAKAGES: list[Breakage] = []


def noticed(breakage: Breakage) -> tuple[bool, str]:
    """Whether the tests fail on the changed copy, and by which test."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(ROOT / "jaxloss", copy / "jaxloss")
        shutil.copytree(ROOT / "tests", copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "jaxloss" / breakage.file
        text = path.read_text()
        if text.count(breakage.old) != 1:
            raise SystemExit(
                f"{breakage.what}: the text to change stands "
                f"{text.count(breakage.old)} times in {breakage.file}"
            )
        path.write_text(text.replace(breakage.old, breakage.new))
        command, _, words = breakage.tests.partition(" -k ")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
                *command.split(),
                *(["-k", words] if words else []),
            ],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    if done.returncode not in (0, 1) and "error" in done.stdout.lower():
        failed = failed or ["collection failed"]
    return done.returncode != 0, failed[0].split(" - ")[0] if failed else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    word = parser.parse_args().only
    chosen = [b for b in BREAKAGES if word in b.what or word in b.file]
    survived = 0
    for breakage in chosen:
        seen, by = noticed(breakage)
        survived += not seen
        verdict = "noticed " if seen else "SURVIVED"
        by = by.removeprefix("FAILED ")
        print(f"{verdict} {breakage.file}: {breakage.what}  {by}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} changes noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
