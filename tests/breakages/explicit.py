"""Breakages of the border between explicit mesh axes and the inside of a loss."""

from tests.breakages import Breakage

FILE = "_core/explicit.py"
TESTS = "tests/devices/test_explicit.py -k"

BREAKAGES = [
    Breakage(
        "explicit axes stay explicit inside a loss",
        FILE,
        "types = dict.fromkeys(mesh.explicit_axes, AxisType.Auto)",
        "types = dict.fromkeys(mesh.explicit_axes, AxisType.Explicit)",
        f"{TESTS} one_by_one",
    ),
    Breakage(
        "a result is the same on all devices",
        FILE,
        "_spec(x.shape, output)",
        "PartitionSpec()",
        f"{TESTS} shares_with",
    ),
    Breakage(
        "the axes of a result are the first of the output, whatever their sizes",
        FILE,
        "if size == here",
        "if size",
        f"{TESTS} shares_with",
    ),
    Breakage(
        "the model's output is what was written first, whatever its name",
        FILE,
        "given = inspect.signature(function).bind(*args, **options).arguments",
        "given = dict(enumerate([*args, *options.values()]))",
        f"{TESTS} one_by_one",
    ),
    Breakage(
        "arrays that know of no mesh are given one",
        FILE,
        "bool(jax.typeof(x).sharding.mesh.explicit_axes)",
        "True",
        f"{TESTS} nothing_is",
    ),
]
