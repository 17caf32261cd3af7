"""Policy gradients: ratios of two policies, clipped, and what is averaged of them."""

import functools

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases import softmax

TOKENS, CLASSES = 4, 3

NOT_REDUCED = {
    "aggregate_tokens",
    "importance_weights",
    "sequence_log_probs",
    "sequence_log_ratio",
}
OWN_REDUCTION = {"grpo_loss"}
# The average of given losses, a number for a batch: `test_policy.py` has its formulas.
WITHOUT_ROW = {"aggregate_tokens"}
IN_NATS = {"kl_estimate"}

BETA = 0.0625
LOW, HIGH = 0.25, 0.5
"""Bounds that are exact in every dtype."""


def ratios(rng: np.random.Generator, scale: Scale, count: int = 2):
    """Log-probabilities under policies that are tiny to far steps apart.

    Not so far that a loss or its gradient would be too large for half precision; for
    those `test_policy.py` has the limits.
    """
    size = {"tiny": 1e-3, "wide": 3, "saturated": 30}.get(scale, 0.4)
    old = -rng.exponential(2, size=(BATCH, TOKENS))
    if scale == "offset":
        old = old - 500
    steps = (size * rng.normal(size=old.shape) for _ in range(count))
    return [old + np.clip(step, -4, 4) for step in steps]


def tokens(rng: np.random.Generator, scale: Scale):
    new, old = ratios(rng, scale)
    return new, rng.normal(size=new.shape), old


def alone(rng: np.random.Generator, scale: Scale):
    return tokens(rng, scale)[:2]


def answers(rng: np.random.Generator, scale: Scale):
    new, old, reference = ratios(rng, scale, 3)
    return new, rng.normal(size=BATCH), old, reference


def each(function):
    """A function of scalars, token by token."""
    return np.vectorize(function, otypes=[object])


def bounded(a, rho, cap=mp.inf):
    """The ratio that counts, and whether it is free."""
    upper = 1 + mp.mpf(HIGH) if a > 0 else mp.mpf(cap)
    lower = 1 - mp.mpf(LOW) if a < 0 else mp.mpf(0)
    return min(max(rho, lower), upper), lower <= rho <= upper


def surrogate(x, a, cap=mp.inf):
    rho = mp.exp(x)
    clip = min(max(rho, 1 - mp.mpf(LOW)), 1 + mp.mpf(HIGH))
    loss = -min(rho * a, clip * a)
    return min(loss, -cap * a) if a < 0 else loss


def surrogate_slope(x, a, cap=mp.inf):
    rho = mp.exp(x)
    return -a * rho if bounded(a, rho, cap)[1] else mp.mpf(0)


@each
def ppo(new, a, old):
    return surrogate(new - old, a)


@each
def ppo_gradient(new, a, old):
    return surrogate_slope(new - old, a)


@each
def dual(new, a, old):
    return surrogate(new - old, a, 2)


@each
def dual_gradient(new, a, old):
    return surrogate_slope(new - old, a, 2)


def gate(tau_of):
    """SAPO's loss and its slope, with τ by the sign of the advantage."""

    @each
    def loss(new, a, old):
        tau = tau_of(a)
        return -a * 4 / (tau * (1 + mp.exp(-tau * mp.expm1(new - old))))

    @each
    def slope(new, a, old):
        z = tau_of(a) * mp.expm1(new - old)
        return -4 * a * mp.exp(new - old) / (1 + mp.exp(z)) / (1 + mp.exp(-z))

    return loss, slope


def k3(r):
    return mp.expm1(r) - r


def grpo(new, a, old, reference):
    loss = each(lambda x: surrogate(x, a))(new - old)
    return loss + BETA * each(k3)(reference - new)


def grpo_gradient(new, a, old, reference):
    slope = each(lambda x: surrogate_slope(x, a))(new - old)
    return slope - BETA * each(mp.expm1)(reference - new)


def grpo_terms(new, a, old, reference):
    """A rounding of the larger of the two terms."""
    first = max(abs(each(lambda x: surrogate(x, a))(new - old)))
    second = BETA * max(abs(each(mp.expm1)(reference - new)))
    return 1e-7 * max(first, second)


def gspo(new, a, old):
    mean = mp.fsum(new - old) / TOKENS
    return np.array([surrogate(mean, a)] * TOKENS, object)


def gspo_gradient(new, a, old):
    # Of the sum over the tokens, each of which moves the mean by 1 / TOKENS.
    mean = mp.fsum(new - old) / TOKENS
    return np.array([surrogate_slope(mean, a)] * TOKENS, object)


# Of a token, the estimate of `ESTIMATES` times ρ, and its slope by log π.
WEIGHTED = {
    "k1": lambda r: 1 - r,
    "k2": lambda r: r**2 / 2 - r,
    "k3": lambda r: -r,
}


def weighted_kl(name):
    """The loss of GRPO with this estimate weighted by the ratio, and its slope."""

    def loss(new, a, old, reference):
        divergence = each(ESTIMATES[name][0])(reference - new)
        first = each(lambda x: surrogate(x, a))(new - old)
        return first + BETA * each(mp.exp)(new - old) * divergence

    def slope(new, a, old, reference):
        by_policy = each(mp.exp)(new - old) * each(WEIGHTED[name])(reference - new)
        return each(lambda x: surrogate_slope(x, a))(new - old) + BETA * by_policy

    def floor(new, a, old, reference):
        """A rounding of the larger of the terms, and of their slopes."""
        loss_terms = each(lambda x: surrogate(x, a))(new - old)
        r, rho = reference - new, each(mp.exp)(new - old)
        second = BETA * rho * each(lambda v: abs(v) + 1)(r)
        return 1e-7 * max(*abs(loss_terms), *second)

    return loss, slope, floor


ESTIMATES = {
    "k1": (lambda r: -r, lambda r: mp.mpf(1)),
    "k2": (lambda r: r**2 / 2, lambda r: -r),
    "k3": (k3, lambda r: -mp.expm1(r)),
}


def sampler_ratio(new, sampler, level):
    """Its logarithm, and by how much a token moves it."""
    if level == "token":
        return new - sampler, 1
    share = 1 if level == "sequence" else mp.mpf(1) / TOKENS
    return np.array(mp.fsum(new - sampler) * share, object), share


def sampler_slope(new, sampler, level, outside):
    x, share = sampler_ratio(new, sampler, level)
    rho = each(mp.exp)(x)
    inside = (rho >= LOW) & (rho <= 1 + HIGH)
    return np.broadcast_to(np.where(inside, rho * share, mp.mpf(0)), new.shape)


def sampler_weights(new, sampler, level, outside):
    x, _ = sampler_ratio(new, sampler, level)

    @each
    def weight(v):
        rho = mp.exp(v)
        inside = min(max(rho, mp.mpf(LOW)), 1 + mp.mpf(HIGH))
        return inside if outside == "clip" else rho * (inside == rho)

    return weight(x)[()]


def values(rng: np.random.Generator, scale: Scale):
    size = {"tiny": 1e-3, "wide": 10, "saturated": 300}.get(scale, 1)
    offset = 1e4 if scale == "offset" else 0
    old = offset + rng.normal(size=(BATCH, TOKENS))
    new, target = (old + size * rng.normal(size=old.shape) for _ in range(2))
    return new, target, old


def value_errors(v, target, old):
    clipped = old + min(max(v - old, -mp.mpf(LOW)), mp.mpf(LOW))
    return v - target, clipped - target


@each
def value_loss(v, target, old):
    return max(e**2 for e in value_errors(v, target, old)) / 2


@each
def value_gradient(v, target, old):
    plain, clipped = value_errors(v, target, old)
    free = abs(v - old) <= LOW or abs(plain) >= abs(clipped)
    return plain if free else mp.mpf(0)


def texts(rng: np.random.Generator, scale: Scale):
    """Logits of the tokens of a text, half of them confident and right."""
    x = [softmax.logits(rng, scale, CLASSES) for _ in range(TOKENS)]
    x = np.stack(x, axis=1)
    y = rng.integers(CLASSES, size=(BATCH, TOKENS))
    return x, np.where(rng.uniform(size=y.shape) < 0.5, x.argmax(-1), y)


def log_softmax(row, label):
    return row[label] - mp.log(mp.fsum(mp.exp(v) for v in row))


def text_log_prob(share):
    def log_prob(x, y):
        return mp.fsum(map(log_softmax, x, y)) * share

    def gradient(x, y):
        grads = [
            [(j == label) - p for j, p in enumerate(softmax.softmax(row))]
            for row, label in zip(x, y, strict=True)
        ]
        return np.array(grads, object) * share

    return log_prob, gradient


CASES = [
    Case(
        name="ppo_loss",
        options={"clip_low": LOW, "clip_high": HIGH},
        keywords=("old_log_probs",),
        inputs=tokens,
        formula=ppo,
        gradient=ppo_gradient,
        event=(1, 1, 1),
        kinks=True,
    ),
    Case(
        name="ppo_loss",
        variant="dual clip",
        options={"clip_low": LOW, "clip_high": HIGH, "dual_clip": 2.0},
        keywords=("old_log_probs",),
        inputs=tokens,
        formula=dual,
        gradient=dual_gradient,
        event=(1, 1, 1),
        kinks=True,
    ),
    # Where the ratio is clipped to a constant, the loss has the gradient of its
    # formula; elsewhere it is held fixed, which is for `test_policy.py` to see.
    Case(
        name="cispo_loss",
        options={"min_ratio": 1.5, "max_ratio": 1.5},
        inputs=alone,
        formula=each(lambda new, a: -1.5 * a * new),
        gradient=each(lambda new, a: -1.5 * a),
        event=(1, 1),
    ),
    Case(
        name="sapo_loss",
        options={"positive_temperature": 0.5, "negative_temperature": 2.0},
        keywords=("old_log_probs",),
        inputs=tokens,
        formula=gate(lambda a: mp.mpf(0.5) if a > 0 else mp.mpf(2))[0],
        gradient=gate(lambda a: mp.mpf(0.5) if a > 0 else mp.mpf(2))[1],
        event=(1, 1, 1),
    ),
    Case(
        name="grpo_loss",
        options={"clip_low": LOW, "clip_high": HIGH, "beta": BETA},
        keywords=("old_log_probs", "reference_log_probs"),
        inputs=answers,
        formula=grpo,
        gradient=grpo_gradient,
        event=(1, 0, 1, 1),
        kinks=True,
        # The surrogate and the divergence, or their slopes, may cancel.
        floor=grpo_terms,
    ),
    *(
        Case(
            name="grpo_loss",
            variant=f"weighted {name}",
            options={
                "clip_low": LOW,
                "clip_high": HIGH,
                "beta": BETA,
                "kl_estimator": name,
                "weighted_kl": True,
            },
            keywords=("old_log_probs", "reference_log_probs"),
            inputs=answers,
            formula=weighted_kl(name)[0],
            gradient=weighted_kl(name)[1],
            event=(1, 0, 1, 1),
            kinks=True,
            # As above.
            floor=weighted_kl(name)[2],
        )
        for name in ("k1", "k2", "k3")
    ),
    Case(
        name="grpo_loss",
        variant="of sequences",
        options={"clip_low": LOW, "clip_high": HIGH, "importance": "sequence"},
        keywords=("old_log_probs",),
        inputs=lambda rng, scale: answers(rng, scale)[:3],
        formula=gspo,
        gradient=gspo_gradient,
        event=(1, 0, 1),
        kinks=True,
    ),
    *(
        Case(
            name="kl_estimate",
            variant="" if name == "k3" else name,
            options={} if name == "k3" else {"estimator": name},
            inputs=lambda rng, scale: tuple(ratios(rng, scale)),
            formula=each(lambda new, ref, f=loss: f(ref - new)),
            gradient=each(lambda new, ref, f=slope: f(ref - new)),
            event=(1, 1),
        )
        for name, (loss, slope) in reversed(ESTIMATES.items())
    ),
    Case(
        name="sequence_log_ratio",
        inputs=lambda rng, scale: tuple(ratios(rng, scale)),
        formula=lambda new, old: mp.fsum(new - old) / TOKENS,
        gradient=lambda new, _old: np.full(new.shape, mp.mpf(1) / TOKENS, object),
        event=(1, 1),
        # A mean of differences of either sign.
        floor=lambda new, old: 1e-7 * max(abs(new - old)),
    ),
    *(
        Case(
            name="importance_weights",
            variant=f"{level}, {outside}",
            options={
                "level": level,
                "outside": outside,
                "min_ratio": LOW,
                "max_ratio": 1 + HIGH,
            },
            inputs=lambda rng, scale: tuple(ratios(rng, scale)),
            formula=functools.partial(sampler_weights, level=level, outside=outside),
            gradient=functools.partial(sampler_slope, level=level, outside=outside),
            event=(1, 1),
            kinks=True,
            hessian=False,
            # The sum of the differences is rounded before its exponential.
            floor=lambda new, sampler: 1e-7 * mp.fsum(abs(new - sampler)),
        )
        for level, outside in (
            ("token", "clip"),
            ("token", "drop"),
            ("sequence", "drop"),
            ("geometric", "clip"),
        )
    ),
    *(
        Case(
            name="sequence_log_probs",
            variant="average" if share != 1 else "",
            options={"average": True} if share != 1 else {},
            inputs=texts,
            formula=text_log_prob(share)[0],
            gradient=text_log_prob(share)[1],
            event=(2, 1),
        )
        for share in (1, mp.mpf(1) / TOKENS)
    ),
    Case(
        name="value_clip_loss",
        options={"clip": LOW},
        keywords=("old_values",),
        inputs=values,
        formula=value_loss,
        gradient=value_gradient,
        event=(1, 1, 1),
        kinks=True,
    ),
]
