"""What README.md says holds: its code runs, its tables are right and complete."""

import pathlib
import re
import subprocess
import sys

import optax
import pytest

import jaxloss

README = pathlib.Path(__file__).parent.parent / "README.md"


def run(program: str, folder: pathlib.Path) -> str:
    """The output of a program run as users run it, without the tests' JAX options."""
    path = folder / "README.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_blocks_run_from_top_to_bottom(tmp_path):
    lines, inside = [], False
    for line in README.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")  # the line numbers are README.md's
    assert any("import" in line for line in lines)
    run("\n".join(lines), tmp_path)


COMPARE = """
import jax, jax.numpy, optax.losses, jaxloss
names = {"grad": jax.grad, "array": jax.numpy.array, "inf": jax.numpy.inf,
         "bfloat16": jax.numpy.bfloat16}
for row in %r:
    for losses in (optax.losses, jaxloss):
        print(f"{float(eval(row, names | vars(losses))):.3g}")
"""


@pytest.mark.thorough
def test_comparison_with_optax(tmp_path):
    text = README.read_text()
    (version,) = re.findall(r"^\| \| optax (\S+) \| jaxloss \|$", text, re.MULTILINE)
    rows = re.findall(r"^\| `(.*array\(.*)` \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert len(rows) > 10
    printed = iter(run(COMPARE % [row for row, _, _ in rows], tmp_path).split())
    for row, theirs, ours in rows:
        optax_prints, jaxloss_prints = next(printed), next(printed)
        assert jaxloss_prints == ours, row
        if optax.__version__ == version:
            assert optax_prints == theirs, row


def test_the_table_of_losses_is_that_of_the_package():
    program = README.parent / "docs" / "site" / "readme.py"
    done = subprocess.run(
        [sys.executable, str(program), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = README.read_text()
    public = [
        name
        for name, value in vars(jaxloss).items()
        if callable(value) and getattr(value, "__module__", "").startswith("jaxloss.")
    ]
    assert len(public) > 30
    for name in public:
        assert f"`{name}`" in text, name
