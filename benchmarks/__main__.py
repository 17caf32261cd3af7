"""`python -m benchmarks [PROGRAM] [OPTIONS]`: one command for all of them."""

import importlib
import sys
from collections.abc import Sequence

PROGRAMS = {
    "losses": ("run", "time and memory of every loss against optax's (the default)"),
    "accuracy": ("accuracy", "errors of every loss against its formula, and optax's"),
    "heads": ("heads", "time of the fused head against full logits"),
    "kernels": ("kernels", "the kernels against XLA, other libraries, the device"),
    "memory": ("memory", "temporaries of the fused head against tokens"),
    "compare": ("compare", "two JSON files: what changed by more than the noise"),
    "report": ("report", "what README.md shows, from the committed JSON files"),
}


def listing() -> str:
    return "\n".join(
        [
            "usage: python -m benchmarks [PROGRAM] [OPTIONS]",
            "",
            *(f"  {name:10}{what}" for name, (_, what) in PROGRAMS.items()),
            "",
            "python -m benchmarks PROGRAM --help lists a program's options. All but "
            "the last\ntwo take --only, --json and --plot.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to a program; options alone are those of `losses`."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] in (["-h"], ["--help"]):
        print(listing())
        return 0
    if not given or given[0].startswith("-"):
        given.insert(0, "losses")
    name, *rest = given
    if name not in PROGRAMS:
        print(f"benchmarks: no program {name!r}\n\n{listing()}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"benchmarks.{PROGRAMS[name][0]}")
    return module.main(rest)


if __name__ == "__main__":
    raise SystemExit(main())
