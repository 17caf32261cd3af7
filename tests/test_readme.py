"""The Python in README.md runs, from top to bottom, as one program."""

import pathlib
import subprocess
import sys

README = pathlib.Path(__file__).parent.parent / "README.md"


def python_lines(text: str) -> list[str]:
    """The text's Python blocks, every other line blank, so line numbers agree."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return lines


def test_readme_code_runs(tmp_path):
    lines = python_lines(README.read_text())
    assert any("import jaxloss" in line for line in lines)
    program = tmp_path / "README.py"
    program.write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
