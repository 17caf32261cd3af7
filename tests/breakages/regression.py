"""Breakages of the losses of a residual."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "1 - tanh² by subtraction",
        "_core/numerics.py",
        "return tanh(x), sech_squared(x) * dx",
        "return tanh(x), (1 - tanh(x) ** 2) * dx",
        f"{LAWS} -k log_cosh",
    ),
    Breakage(
        "Huber's derivative is not clipped",
        "_core/residual.py",
        "dloss += clipped(e, delta) * de",
        "dloss += e * de",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "half a coefficient of log cosh",
        "_core/residual.py",
        "_TANGENT = (1, 2, 16,",
        "_TANGENT = (1, 2, 8,",
        f"{LAWS} -k log_cosh",
    ),
    Breakage(
        "the smooth pinball has the wrong tail",
        "_losses/quantile.py",
        "return _pinball(e, level) + width * jnp.log1p(jnp.exp(-size))",
        "return _pinball(e, level) + width * jnp.log1p(jnp.exp(-2 * size))",
        f"{LAWS} -k quantile_loss",
    ),
    Breakage(
        "the residual in units of the smoothing overflows",
        "_losses/quantile.py",
        "return _SHARP * clipped_ratio(e, _SHARP * width)",
        "return e / width",
        "tests/test_robust.py -k quantile",
    ),
    Breakage(
        "the slope by the smoothing lacks a part of the entropy",
        "_losses/quantile.py",
        "(softplus(-size) + size * sigmoid(-size)) * dwidth",
        "softplus(-size) * dwidth",
        "tests/test_robust.py -k quantile",
    ),
]
