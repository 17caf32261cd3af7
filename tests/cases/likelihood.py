"""Negative log-likelihoods, by each of their parameters, and deviances."""

import mpmath as mp
import numpy as np
from optax import losses as optax

from tests.case import BATCH, Case
from tests.cases.regression import residuals
from tests.cases.softmax import (
    cross_entropy,
    cross_entropy_gradient,
    labelled,
    log_partition,
    logits,
    softmax,
)

ENTRIES = 4
SHAPE = (BATCH, ENTRIES)
# The derivative of the formula is the oracle: no closed form is worth its lines.
NUMERIC = object()


def elementwise(function):
    """A function of one entry of each argument, entry by entry."""
    return np.vectorize(function, otypes=[object])


def crossing(*example):
    """A log-density crosses 0, and so do derivatives at the best parameters: each term,
    of size 1 and more, is rounded."""
    return 6e-7


def largest_exp(logs):
    return max(float(mp.exp(x)) for x in np.ravel(logs))


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x))


def law(name, inputs, formula, gradients, parameters=(), /, usual="", **settings):
    """A row for each argument with a closed form: the output, a parameter, the targets.

    `gradients` has one for the output, one for the targets (or None), and one for each
    parameter.
    """
    names = (usual, "by targets", *(f"by {p}" for p in parameters))
    for argument, (variant, gradient) in enumerate(zip(names, gradients, strict=True)):
        if gradient is not None:
            yield Case(
                name=name,
                variant=variant,
                keywords=tuple(parameters),
                inputs=inputs,
                formula=elementwise(formula),
                gradient=None if gradient is NUMERIC else elementwise(gradient),
                event=(1,) * (2 + len(parameters)),
                argument=argument,
                **settings,
            )


# ------------------------------------------------------------------ real numbers


def around(rng, scale, *, spread=1.0, count=1):
    """Parameters on the log scale: near 0, ordinary, over many orders of magnitude."""
    size = {"tiny": 1e-2, "wide": 4.0}.get(scale, 1.0)
    return [spread * size * rng.normal(size=SHAPE) for _ in range(count)]


def with_scale(rng, scale):
    x, y = residuals(rng, scale)
    (s,) = around(rng, scale)
    if scale == "saturated":
        s = (
            s + 7
        )  # the square of the residual, in units of it, is one in half precision
    return x[:, :ENTRIES], y[:, :ENTRIES], np.clip(s, -4, 9)


def with_scale_and_df(rng, scale):
    x, y, log_scale = with_scale(rng, scale)
    log_df = rng.uniform(-2, 4, size=SHAPE)
    if scale in ("wide", "tiny"):
        log_df = rng.uniform(-6, 10, size=SHAPE)
    return x, y, log_scale, log_df


def gaussian(m, y, s):
    return (mp.log(2 * mp.pi) + s + (m - y) ** 2 * mp.exp(-s)) / 2


def gaussian_by_mean(m, y, s):
    return (m - y) * mp.exp(-s)


def gaussian_by_log_variance(m, y, s):
    return (1 - (m - y) ** 2 * mp.exp(-s)) / 2


def student(m, y, s, log_df):
    df = mp.exp(log_df)
    z = (m - y) * mp.exp(-s)
    constant = mp.log(df * mp.pi) / 2 + mp.loggamma(df / 2) - mp.loggamma((df + 1) / 2)
    return s + constant + (df + 1) / 2 * mp.log1p(z**2 / df)


def student_by_mean(m, y, s, log_df):
    df, z = mp.exp(log_df), (m - y) * mp.exp(-s)
    return (df + 1) * z * mp.exp(-s) / (df + z**2)


def student_by_log_scale(m, y, s, log_df):
    df, z = mp.exp(log_df), (m - y) * mp.exp(-s)
    return 1 - (df + 1) * z**2 / (df + z**2)


def student_by_log_df(m, y, s, log_df):
    df = mp.exp(log_df)
    w = ((m - y) * mp.exp(-s)) ** 2 / df
    digammas = mp.digamma(df / 2) - mp.digamma((df + 1) / 2)
    first = df / 2 * (digammas + 1 / df + mp.log1p(w))
    return first - (df + 1) / 2 * w / (1 + w)


# ------------------------------------------------------------------ counts


def counts(rng, scale):
    """Logarithms of means, and counts: rare, few, many, and badly predicted ones."""
    match scale:
        case "tiny":
            log_mean = rng.normal(-7, 1, size=SHAPE)
            return log_mean, (rng.uniform(size=SHAPE) < 0.2).astype(float)
        case "wide":
            log_mean = rng.normal(2, 3, size=SHAPE)
            return log_mean, np.floor(np.exp(rng.normal(2, 2, size=SHAPE)))
        case "offset":
            y = np.floor(10 ** rng.uniform(2, 4.4, size=SHAPE))
            return np.log(y) + rng.normal(size=SHAPE) / np.sqrt(y), y
        case "saturated":
            log_mean = np.where(rng.uniform(size=SHAPE) < 0.5, -6, 8.0)
            return log_mean, np.where(log_mean > 0, 3.0, 70.0)
        case _:
            log_mean = rng.normal(1, 1, size=SHAPE)
            return log_mean, rng.poisson(np.exp(log_mean)).astype(float)


def dispersed(rng, scale):
    log_mean, y = counts(rng, scale)
    log_r = rng.normal(size=SHAPE)
    if scale in ("wide", "offset"):
        # From far fewer than the counts to far more.
        log_r = log_mean + rng.uniform(-8, 8, size=SHAPE)
    return log_mean, y, log_r


def poisson(x, y):
    return mp.exp(x) - x * y + mp.loggamma(y + 1)


def poisson_by_log_rate(x, y):
    return mp.exp(x) - y


def poisson_by_count(x, y):
    return mp.digamma(y + 1) - x


def negative_binomial(m, y, s):
    r, logit = mp.exp(s), m - s
    gammas = mp.loggamma(r) + mp.loggamma(y + 1) - mp.loggamma(y + r)
    return gammas + r * softplus(logit) + y * softplus(-logit)


def negative_binomial_by_log_mean(m, y, s):
    r, q = mp.exp(s), sigmoid(m - s)
    return r * q - y * sigmoid(s - m)


def negative_binomial_by_count(m, y, s):
    return mp.digamma(y + 1) - mp.digamma(y + mp.exp(s)) + softplus(s - m)


def negative_binomial_by_log_r(m, y, s):
    r = mp.exp(s)
    by_r = mp.digamma(r) - mp.digamma(y + r) + softplus(m - s)
    return r * by_r - negative_binomial_by_log_mean(m, y, s)


def trials(rng, scale):
    """Log-odds, successes and trials."""
    n = np.floor(np.exp(rng.uniform(0, 4, size=SHAPE)))
    x = rng.normal(size=SHAPE)
    match scale:
        case "tiny":
            x = 1e-2 * x
        case "wide":
            x = 5 * x
        case "offset":
            n = np.floor(10 ** rng.uniform(2, 4.4, size=SHAPE))
    y = rng.binomial(n.astype(int), 1 / (1 + np.exp(-x))).astype(float)
    if scale == "saturated":
        x = 15 * np.sign(x)
    return x, y, n


def binomial(x, y, n):
    choices = mp.loggamma(n + 1) - mp.loggamma(y + 1) - mp.loggamma(n - y + 1)
    return n * softplus(x) - y * x - choices


def with_zeros(law):
    def formula(*arguments):
        *others, z = arguments
        pi = sigmoid(z)
        if others[1] == 0:
            return -mp.log(pi + (1 - pi) * mp.exp(-law(*others)))
        return softplus(z) + law(*others)

    return formula


def share(law, *arguments):
    """What of the law's gradient is left, and the gradient by the zeros' log-odds."""
    *others, z = arguments
    if others[1] != 0:
        return mp.mpf(1), sigmoid(z)
    odds = z + law(*others)
    return sigmoid(-odds), sigmoid(z) - sigmoid(odds)


def through_zeros(law, gradient):
    return lambda *a: share(law, *a)[0] * gradient(*a[:-1])


def by_zeros(law):
    return lambda *a: share(law, *a)[1]


def zero_inflated(sample):
    def inputs(rng, scale):
        arrays = sample(rng, scale)
        y = np.where(rng.uniform(size=SHAPE) < 0.5, 0, arrays[1])
        # At z = 0 the curvature by z changes its sign.
        z = rng.choice([-1, 1], size=SHAPE) * (0.1 + np.abs(rng.normal(size=SHAPE)))
        z = 4 * z if scale == "wide" else z
        return (arrays[0], y, *arrays[2:], z)

    return inputs


# ------------------------------------------------------------------ positive numbers


def positive(rng, scale):
    """Logarithms of means, and positive numbers near them or not."""
    error = rng.normal(size=SHAPE)
    log_mean = rng.normal(size=SHAPE)
    match scale:
        case "tiny":
            return log_mean, np.exp(log_mean + 1e-3 * error)
        case "wide":
            return 5 * log_mean, np.exp(5 * log_mean + 2 * error)
        case "offset":
            return log_mean + 9, np.exp(log_mean + 9 + error)
        case "saturated":
            return log_mean, np.exp(log_mean + 4 * np.sign(error))
        case _:
            return log_mean, np.exp(log_mean + error)


def shaped(rng, scale):
    m, y = positive(rng, scale)
    spread = {"tiny": 9.0, "unit": 1.0, "wide": 2.0}.get(scale, 0.5)
    return m, y, spread * np.clip(rng.normal(size=SHAPE), -2, 2)


def weibull_shaped(rng, scale):
    m, y, s = shaped(rng, scale)
    return m, y, np.clip(s, -3, 1)


def gamma(m, y, s):
    a = mp.exp(s)
    return mp.loggamma(a) + a * (m - s) - (a - 1) * mp.log(y) + a * y * mp.exp(-m)


def gamma_by_log_mean(m, y, s):
    return mp.exp(s) * (1 - y * mp.exp(-m))


def gamma_by_log_shape(m, y, s):
    a, v = mp.exp(s), mp.log(y) - m
    return a * (mp.exp(v) - 1 - v + mp.digamma(a) - s)


def exponential(x, y):
    return y * mp.exp(x) - x


def weibull(m, y, s):
    # At 0, to which float16 rounds, the logarithm has one infinite factor.
    k, log_y = mp.exp(s), mp.log(y)
    return mp.exp(k * (log_y - m)) + k * m + (1 - k) * log_y - s


def weibull_by_log_scale(m, y, s):
    k = mp.exp(s)
    return -k * mp.expm1(k * (mp.log(y) - m))


def weibull_by_log_shape(m, y, s):
    t = mp.exp(s) * (mp.log(y) - m)
    return t * mp.expm1(t) - 1


def log_normal(m, y, s):
    return gaussian(m, mp.log(y), s) + mp.log(y)


# ------------------------------------------------------------------ bounded


def shares(rng, scale):
    y = rng.uniform(0.05, 0.95, size=SHAPE)
    log_a, log_b = rng.normal(0.5, 1, size=(2, *SHAPE))
    match scale:
        case "tiny":
            log_a, log_b = log_a - 7, log_b - 7
        case "wide":
            log_a, log_b = 3 * log_a, 3 * log_b
        case "offset" | "saturated":
            # Concentrated around the target, or beside it.
            log_n = rng.uniform(5, 10, size=SHAPE)
            off = 1.0 if scale == "saturated" else np.exp(-log_n / 2)
            logit = np.log(y / (1 - y)) + off * rng.normal(size=SHAPE)
            log_a = log_n - np.log1p(np.exp(-logit))
            log_b = log_n - np.log1p(np.exp(logit))
    return log_a, y, log_b


def beta(log_a, y, log_b):
    a, b = mp.exp(log_a), mp.exp(log_b)
    constant = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return constant - (a - 1) * mp.log(y) - (b - 1) * mp.log1p(-y)


def beta_by_log_alpha(log_a, y, log_b):
    a, b = mp.exp(log_a), mp.exp(log_b)
    return a * (mp.digamma(a) - mp.digamma(a + b) - mp.log(y))


def beta_by_log_beta(log_a, y, log_b):
    return beta_by_log_alpha(log_b, 1 - y, log_a)


def angles(rng, scale):
    m, y = rng.uniform(-3, 3, size=(2, *SHAPE))
    s = rng.normal(size=SHAPE)
    match scale:
        case "tiny":
            s = s - 7
        case "wide":
            s = rng.uniform(-8, 12, size=SHAPE)
        case "offset":
            m, y = m + 1e5, y + 1e5
        case "saturated":
            s = s + 13
            m = y + np.exp(-s / 2) * rng.normal(size=SHAPE)
    return m, y, s


def von_mises(m, y, s):
    k = mp.exp(s)
    # The series of e^-k I_0(k) at infinity leaves nothing of an error at such k.
    if k > 400:
        total, term, n = mp.mpf(1), mp.mpf(1), 0
        while abs(term) > mp.mpf(10) ** -130:
            n += 1
            term *= mp.mpf((2 * n - 1) ** 2) / (8 * n * k)
            total += term
        log_bessel = mp.log(total) - mp.log(2 * mp.pi * k) / 2
    else:
        log_bessel = mp.log(mp.besseli(0, k)) - k
    return k * (1 - mp.cos(m - y)) + mp.log(2 * mp.pi) + log_bessel


def pixels(rng, scale):
    """Means, pixels of 16 levels, log-scales: bins of all widths, tails, ends."""
    y = rng.integers(16, size=SHAPE) / 7.5 - 1
    y[:, 0], y[:, 1] = -1, 1
    s = rng.normal(-1, 1, size=SHAPE)
    m = y + rng.normal(size=SHAPE) * np.exp(s)
    match scale:
        case "tiny":
            m = y + 1e-3 * rng.normal(size=SHAPE)
        case "wide":
            s = rng.uniform(-4, 5, size=SHAPE)
        case "saturated":
            s = s - 2
            m = np.where(rng.uniform(size=SHAPE) < 0.5, m, -y)
    return m, y, s


def upper_and_lower(m, y, s):
    """The edges of a bin in units of the scale; those at the ends are infinite."""
    half = mp.mpf(1) / 15
    a, b = (y - m + half) * mp.exp(-s), (y - m - half) * mp.exp(-s)
    return mp.inf if y > 1 - half else a, -mp.inf if y < half - 1 else b


def discretized_logistic(m, y, s):
    a, b = upper_and_lower(m, y, s)
    # Far above the mean it is the difference of two numbers near 1, as that below it is
    # not: the derivatives of such a difference need more digits than there are.
    a, b = (-b, -a) if y > m else (a, b)
    return -mp.log(sigmoid(a) - sigmoid(b))


def discretized_logistic_by_mean(m, y, s):
    a, b = upper_and_lower(m, y, s)
    above = mp.mpf(0) if a == mp.inf else sigmoid(-a)
    below = mp.mpf(0) if b == -mp.inf else sigmoid(b)
    return (above - below) * mp.exp(-s)


def normal_tail(z):
    """1 - Φ(z)."""
    return mp.erfc(z / mp.sqrt(2)) / 2


def discretized_gaussian(m, y, s):
    a, b = upper_and_lower(m, y, s)
    a, b = (a, b) if y > m else (-b, -a)
    if b < 0:
        # Around the mean: what is missing, of which Φ(a) - Φ(b) would lose the digits.
        return -mp.log1p(-normal_tail(a) - normal_tail(-b))
    return -mp.log(normal_tail(b) - normal_tail(a))


def discretized_gaussian_by_mean(m, y, s):
    a, b = upper_and_lower(m, y, s)
    p = mp.exp(-discretized_gaussian(m, y, s))
    return (mp.npdf(a) - mp.npdf(b)) / p * mp.exp(-s)


# ------------------------------------------------------------------ mixtures


def components(rng, scale):
    x = logits(rng, scale)
    costs = np.abs(rng.normal(2, 2, size=x.shape))
    if scale == "wide":
        costs = 20 * costs
    return x, costs


def mixture(x, c):
    return log_partition(x) - log_partition(x - c)


# ------------------------------------------------------------------ deviances


def tweedie(power):
    p = mp.mpf(power)

    def formula(m, y):
        mu = mp.exp(m)
        if p == 2:
            return 2 * (y / mu - 1 - mp.log(y / mu))
        first = 0 if y == 0 else y ** (2 - p) / ((1 - p) * (2 - p))
        return 2 * (first - y * mu ** (1 - p) / (1 - p) + mu ** (2 - p) / (2 - p))

    def gradient(m, y):
        return 2 * (mp.exp((2 - p) * m) - y * mp.exp((1 - p) * m))

    return formula, gradient


def sometimes_zero(rng, scale):
    m, y = positive(rng, scale)
    return m, np.where(rng.uniform(size=SHAPE) < 0.2, 0, y)


def binary(rng, scale):
    x = logits(rng, scale)
    if scale == "offset":
        x = x / 1e5
    return x, rng.choice([0, 1, 0.3], size=x.shape)


IN_NATS = {
    "bernoulli_nll",
    "beta_nll",
    "binomial_nll",
    "categorical_nll",
    "discretized_gaussian_nll",
    "discretized_logistic_nll",
    "exponential_nll",
    "gamma_nll",
    "gaussian_nll",
    "laplace_nll",
    "log_normal_nll",
    "mixture_nll",
    "negative_binomial_nll",
    "poisson_nll",
    "student_t_nll",
    "von_mises_nll",
    "weibull_nll",
    "zero_inflated_negative_binomial_nll",
    "zero_inflated_poisson_nll",
}
SIBLINGS = {
    "bernoulli_nll",
    "categorical_nll",
    "gamma_deviance",
    "poisson_deviance",
    "zero_inflated_negative_binomial_nll",
}

FLAGSHIP = {"gaussian_nll"}

CASES = [
    *law(
        "gaussian_nll",
        with_scale,
        gaussian,
        (gaussian_by_mean, None, gaussian_by_log_variance),
        ("log_variance",),
    ),
    # By the mean the weight is a constant of its formula; that it is one by the
    # variance too is for `test_likelihood.py` to see.
    *law(
        "gaussian_nll",
        with_scale,
        lambda m, y, s: mp.exp(0.75 * s) * gaussian(m, y, s),
        (lambda m, y, s: mp.exp(0.75 * s) * gaussian_by_mean(m, y, s), None, None),
        ("log_variance",),
        usual="beta 0.75",
        options={"beta": 0.75},
    ),
    *law(
        "laplace_nll",
        with_scale,
        lambda m, y, s: mp.log(2) + s + abs(m - y) * mp.exp(-s),
        (
            lambda m, y, s: mp.sign(m - y) * mp.exp(-s),
            None,
            lambda m, y, s: 1 - abs(m - y) * mp.exp(-s),
        ),
        ("log_scale",),
    ),
    *law(
        "student_t_nll",
        with_scale_and_df,
        student,
        (student_by_mean, None, student_by_log_scale, student_by_log_df),
        ("log_scale", "log_df"),
        floor=crossing,
    ),
    *law("poisson_nll", counts, poisson, (poisson_by_log_rate, poisson_by_count)),
    *law(
        "negative_binomial_nll",
        dispersed,
        negative_binomial,
        (
            negative_binomial_by_log_mean,
            negative_binomial_by_count,
            negative_binomial_by_log_r,
        ),
        ("log_total_count",),
        # Parts of the derivatives by r and y have opposite signs.
        floor=lambda *example: 6e-7,
    ),
    *law(
        "binomial_nll",
        trials,
        binomial,
        (
            lambda x, y, n: n * sigmoid(x) - y,
            lambda x, y, n: mp.digamma(y + 1) - mp.digamma(n - y + 1) - x,
            lambda x, y, n: mp.digamma(n - y + 1) - mp.digamma(n + 1) + softplus(x),
        ),
        ("total_count",),
        # At y = 0 and at y = n the loss is linear in n, or nearly.
        floor=lambda *example: 1e-9,
    ),
    *law(
        "zero_inflated_poisson_nll",
        zero_inflated(counts),
        with_zeros(poisson),
        (through_zeros(poisson, poisson_by_log_rate), None, by_zeros(poisson)),
        ("zero_logits",),
    ),
    *law(
        "zero_inflated_negative_binomial_nll",
        zero_inflated(dispersed),
        with_zeros(negative_binomial),
        (
            through_zeros(negative_binomial, negative_binomial_by_log_mean),
            None,
            through_zeros(negative_binomial, negative_binomial_by_log_r),
            by_zeros(negative_binomial),
        ),
        ("log_total_count", "zero_logits"),
        # Parts of the derivatives by r and y have opposite signs.
        floor=lambda *example: 1e-6,
    ),
    *law(
        "gamma_nll",
        shaped,
        gamma,
        (gamma_by_log_mean, None, gamma_by_log_shape),
        ("log_shape",),
        floor=crossing,
    ),
    *law(
        "exponential_nll",
        lambda rng, scale: (lambda m, y: (-m, y))(*positive(rng, scale)),
        exponential,
        (lambda x, y: y * mp.exp(x) - 1, None),
        floor=crossing,
    ),
    *law(
        "weibull_nll",
        weibull_shaped,
        weibull,
        (weibull_by_log_scale, None, weibull_by_log_shape),
        ("log_shape",),
        floor=crossing,
    ),
    *law(
        "log_normal_nll",
        shaped,
        log_normal,
        (
            lambda m, y, s: gaussian_by_mean(m, mp.log(y), s),
            None,
            lambda m, y, s: gaussian_by_log_variance(m, mp.log(y), s),
        ),
        ("log_variance",),
        floor=crossing,
    ),
    *law(
        "beta_nll",
        shares,
        beta,
        (beta_by_log_alpha, None, beta_by_log_beta),
        ("log_beta",),
        # And a law of n = a + b pseudo-counts multiplies log-odds, which are rounded,
        # by the up to n / 2 that the target is away.
        floor=lambda a, y, b: crossing() + 2e-9 * (largest_exp(a) + largest_exp(b)),
    ),
    *law(
        "von_mises_nll",
        angles,
        von_mises,
        (lambda m, y, s: mp.exp(s) * mp.sin(m - y), None, NUMERIC),
        ("log_concentration",),
        # It crosses 0 as well; its largest term is the logarithm of a sum near 1 of
        # exponentials, rounded a few times.
        floor=lambda *example: 2.4e-7,
    ),
    *law(
        "discretized_logistic_nll",
        pixels,
        discretized_logistic,
        (discretized_logistic_by_mean, None, NUMERIC),
        ("log_scale",),
        options={"bins": 16},
        scales=("tiny", "unit", "wide", "saturated"),
    ),
    *law(
        "discretized_gaussian_nll",
        pixels,
        discretized_gaussian,
        (discretized_gaussian_by_mean, None, NUMERIC),
        ("log_scale",),
        options={"bins": 16},
        scales=("tiny", "unit", "wide", "saturated"),
        # A density below the smallest normal number is flushed to 0 before it is
        # multiplied by the up to 150 units of the scale in one, or in the edge.
        slope_floor=lambda *example: 2e-36,
    ),
    Case(
        name="mixture_nll",
        inputs=components,
        formula=mixture,
        gradient=lambda x, c: softmax(x) - softmax(x - c),
        event=(1, 1),
        floor=lambda x, c: 1.2e-7,  # the difference of two shares, each rounded
    ),
    Case(
        name="mixture_nll",
        variant="by components",
        inputs=components,
        formula=mixture,
        gradient=lambda x, c: softmax(x - c),
        event=(1, 1),
        argument=1,
    ),
    *law(
        "bernoulli_nll",
        binary,
        lambda x, y: softplus(x) - y * x,
        (lambda x, y: sigmoid(x) - y, None),
        optax=optax.sigmoid_binary_cross_entropy,
    ),
    Case(
        name="categorical_nll",
        inputs=labelled,
        formula=cross_entropy,
        gradient=cross_entropy_gradient,
        event=(1, 0),
        optax=optax.softmax_cross_entropy_with_integer_labels,
    ),
    *law(
        "poisson_deviance",
        counts,
        lambda x, y: 2 * (mp.exp(x) - y + (y * (mp.log(y) - x) if y else 0)),
        (lambda x, y: 2 * (mp.exp(x) - y), None),
    ),
    *law(
        "gamma_deviance",
        positive,
        tweedie(2)[0],
        (lambda m, y: 2 * (1 - y * mp.exp(-m)), None),
    ),
    *(
        case
        for power in (1.5, 1.01, 2.0, 3.0)
        for case in law(
            "tweedie_deviance",
            sometimes_zero if power < 2 else positive,
            tweedie(power)[0],
            (tweedie(power)[1], None),
            usual="" if power == 1.5 else f"power {power}",
            options={} if power == 1.5 else {"power": power},
        )
    ),
]
