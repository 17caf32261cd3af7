"""scipy: the likelihoods against its laws, and divergences, distances and scores."""

import numpy as np

from tests.parity.row import Row, distributions, normal, uniform

SHAPE = (4, 3)
MEAN, TARGETS, LOG = (normal(seed, *SHAPE) for seed in (80, 81, 82))
POSITIVE = uniform(83, *SHAPE, low=0.05, high=6.0)
UNIT = uniform(84, *SHAPE)
COUNTS = np.random.default_rng(85).poisson(4.0, size=SHAPE).astype(float)
LABELS = np.asarray([2, 0, 1, 1])
BITS = (normal(86, *SHAPE) > 0).astype(float)
PROBS, OTHERS = distributions(87, *SHAPE), distributions(88, *SHAPE)
LOG_GAMMAS = {
    "tolerance": 1e-13,
    "why": "differences of log-gammas, each some times the result, in float64",
}


def expit(x):
    return 1 / (1 + np.exp(-x))


def law(theirs, ours, inputs, their_call, call, differs, **settings):
    """The negative logarithm of scipy's density, of arguments that it takes."""
    return Row(
        f"stats.{theirs}",
        ours,
        inputs,
        lambda f, *x: -f(*their_call(*x)),
        call,
        differs=f"the negative log-likelihood; takes {differs}",
        **settings,
    )


REALS = [
    law(
        "norm.logpdf",
        "gaussian_nll",
        (MEAN, TARGETS, LOG),
        lambda m, y, s: (y, m, np.exp(s / 2)),
        lambda f, m, y, s: f(m, y, log_variance=s),
        "the logarithm of the variance",
    ),
    law(
        "laplace.logpdf",
        "laplace_nll",
        (MEAN, TARGETS, LOG),
        lambda m, y, s: (y, m, np.exp(s)),
        lambda f, m, y, s: f(m, y, log_scale=s),
        "the logarithm of the scale",
    ),
    law(
        "t.logpdf",
        "student_t_nll",
        (MEAN, TARGETS, LOG, LOG[::-1] + 1),
        lambda m, y, s, v: (y, np.exp(v), m, np.exp(s)),
        lambda f, m, y, s, v: f(m, y, log_scale=s, log_df=v),
        "the logarithms of the scale and of the degrees of freedom",
        **LOG_GAMMAS,
    ),
    law(
        "vonmises.logpdf",
        "von_mises_nll",
        (MEAN, TARGETS, LOG),
        lambda m, y, k: (y, np.exp(k), m),
        lambda f, m, y, k: f(m, y, log_concentration=k),
        "the logarithm of the concentration",
    ),
]

AMOUNTS = [
    law(
        "lognorm.logpdf",
        "log_normal_nll",
        (MEAN, POSITIVE, LOG),
        lambda m, y, s: (y, np.exp(s / 2), 0, np.exp(m)),
        lambda f, m, y, s: f(m, y, log_variance=s),
        "mean and logarithm of the variance of the logarithm",
    ),
    law(
        "gamma.logpdf",
        "gamma_nll",
        (MEAN, POSITIVE, LOG),
        lambda m, y, a: (y, np.exp(a), 0, np.exp(m - a)),
        lambda f, m, y, a: f(m, y, log_shape=a),
        "the logarithms of the mean and of the shape",
        **LOG_GAMMAS,
    ),
    law(
        "expon.logpdf",
        "exponential_nll",
        (MEAN, POSITIVE),
        lambda x, y: (y, 0, np.exp(-x)),
        lambda f, x, y: f(x, y),
        "the logarithm of the rate",
    ),
    law(
        "weibull_min.logpdf",
        "weibull_nll",
        (MEAN, POSITIVE, LOG / 2),
        lambda s, y, k: (y, np.exp(k), 0, np.exp(s)),
        lambda f, s, y, k: f(s, y, log_shape=k),
        "the logarithms of the scale and of the shape",
    ),
    law(
        "beta.logpdf",
        "beta_nll",
        (MEAN, UNIT, LOG),
        lambda a, y, b: (y, np.exp(a), np.exp(b)),
        lambda f, a, y, b: f(a, y, log_beta=b),
        "the logarithms of both parameters",
        **LOG_GAMMAS,
    ),
]

INTEGERS = [
    law(
        "poisson.logpmf",
        "poisson_nll",
        (MEAN,),
        lambda x, y: (y, np.exp(x)),
        lambda f, x, y: f(x, y),
        "the logarithm of the rate",
        fixed=(COUNTS,),
        **LOG_GAMMAS,
    ),
    law(
        "nbinom.logpmf",
        "negative_binomial_nll",
        (MEAN, LOG),
        lambda m, r, y: (y, np.exp(r), 1 / (1 + np.exp(m - r))),
        lambda f, m, r, y: f(m, y, log_total_count=r),
        "the logarithms of the mean and of the number of failures",
        fixed=(COUNTS,),
        **LOG_GAMMAS,
    ),
    law(
        "binom.logpmf",
        "binomial_nll",
        (MEAN,),
        lambda x, y, n: (y, n, expit(x)),
        lambda f, x, y, n: f(x, y, total_count=n),
        "log-odds",
        fixed=(COUNTS, COUNTS[::-1] + COUNTS),
        **LOG_GAMMAS,
    ),
    law(
        "bernoulli.logpmf",
        "bernoulli_nll",
        (MEAN,),
        lambda x, y: (y, expit(x)),
        lambda f, x, y: f(x, y),
        "log-odds",
        fixed=(BITS,),
    ),
    law(
        "multinomial.logpmf",
        "categorical_nll",
        (MEAN,),
        lambda x, y: (np.eye(3)[y], 1, softmax(x)),
        lambda f, x, y: f(x, y),
        "logits, and the index of what came out of one trial",
        fixed=(LABELS,),
    ),
    *(
        Row(
            f"stats.{name}.cdf",
            ours,
            inputs,
            lambda f, m, s, y: (
                -np.log(f(y + 0.05, m, np.exp(s)) - f(y - 0.05, m, np.exp(s)))
            ),
            lambda f, m, s, y: f(m, y, log_scale=s, bins=21),
            # Middles of bins, and none of those at the ends, which are open.
            fixed=(np.round(uniform(89, *SHAPE, low=-0.9), 1),),
            differs="of the difference of the distribution function over a bin",
            tolerance=1e-12,
            why="scipy's differences, 1/100 and less, of numbers that float64 rounds",
        )
        for name, ours, inputs in (
            ("logistic", "discretized_logistic_nll", (MEAN / 2, LOG)),
            # Its tails are lighter, and scipy's differences in them smaller.
            ("norm", "discretized_gaussian_nll", (MEAN / 2, LOG / 4 + 1)),
        )
    ),
]


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def summed(f, *x):
    return f(*x).sum(-1)


DIVERGENCES = [
    Row(
        "special.rel_entr",
        "kl_divergence",
        (np.log(PROBS), OTHERS),
        lambda f, x, t: f(t, np.exp(x)).sum(-1),
        differs="takes log-probabilities, and sums over the classes",
    ),
    Row(
        "special.kl_div",
        "generalized_kl_divergence",
        (MEAN, POSITIVE),
        lambda f, x, t: f(t, np.exp(x)).sum(-1),
        differs="takes logarithms, and sums over the entries",
    ),
    Row("special.entr", "entropy", (PROBS,), summed, differs="sums over the classes"),
    Row(
        "special.log_softmax",
        "softmax_cross_entropy_with_integer_labels",
        (MEAN,),
        lambda f, x, y: -f(x, axis=-1)[np.arange(4), y],
        fixed=(LABELS,),
        differs="the negative entry of the label",
    ),
    Row(
        "stats.entropy",
        "softmax_entropy",
        (MEAN,),
        lambda f, x: f(np.exp(x), axis=-1),
        differs="takes logits",
    ),
    Row(
        "spatial.distance.jensenshannon",
        "js_divergence",
        (MEAN, TARGETS),
        lambda f, x, y: f(softmax(x), softmax(y), axis=-1) ** 2,
        differs="takes logits; scipy's is the root",
    ),
]

DISTANCES = [
    Row(
        "special.huber",
        "huber_loss",
        (MEAN, TARGETS),
        lambda f, x, y: f(0.7, x - y),
        lambda f, x, y: f(x, y, delta=0.7),
    ),
    Row(
        "special.pseudo_huber",
        "pseudo_huber_loss",
        (MEAN, TARGETS),
        lambda f, x, y: f(0.7, x - y),
        lambda f, x, y: f(x, y, delta=0.7),
    ),
    Row(
        "spatial.distance.cosine",
        "cosine_distance",
        (MEAN, TARGETS),
        lambda f, x, y: np.stack([f(*pair) for pair in zip(x, y, strict=True)]),
        differs="many pairs at once",
    ),
    Row(
        "spatial.distance.cdist",
        "triplet_loss",
        (MEAN, TARGETS, LOG),
        lambda f, a, p, n: np.maximum(
            0, np.diagonal(f(a, p)) - np.diagonal(f(a, n)) + 0.5
        ),
        lambda f, a, p, n: f(a, p, n, margin=0.5),
        differs="the hinge of two of its distances",
    ),
    Row(
        "stats.wasserstein_distance",
        "wasserstein_1d",
        (MEAN, TARGETS),
        lambda f, x, y: np.stack([f(*pair) for pair in zip(x, y, strict=True)]),
        differs="many pairs of samples of one size at once",
    ),
    Row(
        "stats.energy_distance",
        "energy_distance",
        (MEAN[:, 0], TARGETS[:, 0]),
        lambda f, x, y: f(x, y) ** 2,
        lambda f, x, y: f(x[:, None], y[:, None]),
        differs="scipy's is the root, of one feature",
    ),
]

ROWS = [*REALS, *AMOUNTS, *INTEGERS, *DIVERGENCES, *DISTANCES]
