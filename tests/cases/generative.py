"""Adversarial, variational and diffusion losses; routers; weighted tasks."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases import softmax

ENTRIES, TOKENS, EXPERTS = 4, 5, 3

NOT_REDUCED = {"min_snr_weights", "edm_weights"}
OWN_REDUCTION = {"load_balancing_loss"}
IN_NATS = {"vae_kl_divergence"}

# ------------------------------------------------------------------ two players


def outputs(rng: np.random.Generator, scale: Scale, count: int = 2):
    """A discriminator's outputs: undecided to sure, right and wrong."""
    size = {"tiny": 1e-4, "wide": 10, "saturated": 80}.get(scale, 1)
    x = size * rng.normal(size=(count, BATCH, ENTRIES))
    if scale == "offset":
        x = x + 1e4
    return tuple(x)


def each(function):
    return np.vectorize(function, otypes=[object])


def nll(x):
    """-log σ(x)."""
    return mp.log1p(mp.exp(-x))


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def relu(x):
    return max(x, mp.mpf(0))


def step(x):
    return mp.mpf(int(x > 0))


# variant: (loss, its derivative by the first argument)
DISCRIMINATOR = {
    "non_saturating": (lambda r, f: nll(r) + nll(-f), lambda r, f: -sigmoid(-r)),
    "minimax": (lambda r, f: nll(r) + nll(-f), lambda r, f: -sigmoid(-r)),
    "hinge": (lambda r, f: relu(1 - r) + relu(1 + f), lambda r, f: -step(1 - r)),
    "least_squares": (
        lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2,
        lambda r, f: r - 1,
    ),
    "wasserstein": (lambda r, f: f - r, lambda r, f: mp.mpf(-1)),
    "relativistic": (lambda r, f: nll(r - f), lambda r, f: -sigmoid(f - r)),
}
GENERATOR = {
    "non_saturating": (nll, lambda f: -sigmoid(-f)),
    "minimax": (lambda f: -nll(-f), lambda f: -sigmoid(f)),
    "hinge": (lambda f: -f, lambda f: mp.mpf(-1)),
    "least_squares": (lambda f: (f - 1) ** 2 / 2, lambda f: f - 1),
    "wasserstein": (lambda f: -f, lambda f: mp.mpf(-1)),
    "relativistic": (lambda f, r: nll(f - r), lambda f, r: -sigmoid(r - f)),
}


def named(variant):
    """The row without a name is that of the default."""
    default = variant == "non_saturating"
    return ("", {}) if default else (variant, {"variant": variant})


# ------------------------------------------------------------------ latent variables


def latents(rng: np.random.Generator, scale: Scale):
    """Means and log-variances near the prior and far from it."""
    size = {"tiny": 1e-4, "wide": 3, "saturated": 10}.get(scale, 1)
    mean, log_variance = size * rng.normal(size=(2, BATCH, ENTRIES))
    if scale == "offset":
        mean = mean + 100
    # Half precision ends at e^11.
    return mean, np.minimum(log_variance, 9)


def vae(mean, s):
    return mp.fsum(mean**2 + each(mp.exp)(s) - 1 - s) / 2


def vae_by_log_variance(mean, s):
    return each(mp.expm1)(s) / 2


def close_vectors(rng: np.random.Generator, scale: Scale, count: int = 2):
    size = {"tiny": 1e-4, "wide": 10, "saturated": 100}.get(scale, 1)
    offset = 1e4 if scale == "offset" else 0
    x = offset + rng.normal(size=(BATCH, ENTRIES))
    return (x, *(x + size * rng.normal(size=x.shape) for _ in range(count - 1)))


# ------------------------------------------------------------------ noise levels


def levels(rng: np.random.Generator, scale: Scale):
    size = {"tiny": 1e-3, "wide": 4, "saturated": 9}.get(scale, 2)
    x = np.clip(size * rng.normal(size=(BATCH, ENTRIES)), -10, 10)
    return (x + (1.5 if scale == "tiny" else 0),)


def snr_weight(kind, gamma):
    gamma = mp.mpf(gamma)

    def weight(x):
        s = mp.exp(x)
        least = min(s, gamma)
        return {"epsilon": least / s, "x0": least, "v": least / (s + 1)}[kind]

    def slope(x):
        above = mp.exp(x) > gamma
        p, w = sigmoid(x), weight(x)
        return {
            "epsilon": -w if above else mp.mpf(0),
            "x0": mp.mpf(0) if above else w,
            "v": -w * p if above else w * (1 - p),
        }[kind]

    return each(weight), each(slope)


def flow(rng: np.random.Generator, scale: Scale):
    """Velocities close to what they are to be, or not."""
    size = {"tiny": 1e-3, "wide": 10, "saturated": 100}.get(scale, 1)
    data, noise, error = rng.normal(size=(3, BATCH, ENTRIES))
    if scale == "offset":
        data, noise = data + 1e3, noise + 1e3
    return data - noise + size * error, data, noise


# ------------------------------------------------------------------ routers and tasks


def routers(rng: np.random.Generator, scale: Scale):
    x = [softmax.logits(rng, scale, EXPERTS) for _ in range(TOKENS)]
    return (np.stack(x, axis=1),)


def assigned(rng: np.random.Generator, scale: Scale):
    return routers(rng, scale)[0], rng.integers(EXPERTS, size=(BATCH, TOKENS, 2))


def chosen(x, count):
    """The experts of the largest logits, the first of equal ones."""
    return np.array([np.argsort(-row, kind="stable")[:count] for row in x])


def balance(x, experts):
    share = np.bincount(experts.ravel(), minlength=EXPERTS)
    share = np.array([mp.mpf(int(n)) / experts.size for n in share])
    p = np.array([softmax.softmax(row) for row in x])
    return share, p


def load_balancing(x, experts):
    share, p = balance(x, experts)
    return EXPERTS * mp.fsum(share * p.sum(axis=0)) / len(x)


def load_balancing_gradient(x, experts):
    share, p = balance(x, experts)
    mean = (p * share).sum(axis=1, keepdims=True)
    return mp.mpf(EXPERTS) / len(x) * p * (share - mean)


def balance_rounding(x, *_):
    """A gradient is a difference from a mean, of shares that may be nearly equal."""
    return 2e-8


def z_rounding(x):
    """The logarithm is a difference of a maximum and what the others add to it."""
    return 3e-7 * abs(softmax.log_partition(x)) + 1e-7


def tasks(rng: np.random.Generator, scale: Scale):
    size = {"tiny": 1e-3, "wide": 10, "saturated": 1e4}.get(scale, 1)
    losses = size * rng.exponential(size=(BATCH, ENTRIES))
    return losses, rng.normal(size=losses.shape)


def kendall(losses, s):
    return mp.fsum(each(lambda v: mp.exp(-v))(s) * losses + s / 2)


CASES = [
    *(
        Case(
            name="gan_discriminator_loss",
            variant=named(variant)[0],
            options=named(variant)[1],
            inputs=outputs,
            formula=each(loss),
            gradient=each(slope),
            event=(1, 1),
            kinks=variant == "hinge",
            hessian=variant not in ("hinge", "wasserstein"),
        )
        for variant, (loss, slope) in DISCRIMINATOR.items()
    ),
    *(
        Case(
            name="gan_generator_loss",
            variant=named(variant)[0],
            options=named(variant)[1],
            inputs=lambda rng, scale, count=2 if variant == "relativistic" else 1: (
                outputs(rng, scale, count)
            ),
            formula=each(loss),
            gradient=each(slope),
            event=(1, 1) if variant == "relativistic" else (1,),
        )
        for variant, (loss, slope) in GENERATOR.items()
    ),
    Case(
        name="vae_kl_divergence",
        inputs=latents,
        formula=vae,
        gradient=lambda mean, _s: mean,
        event=(1, 1),
    ),
    Case(
        name="vae_kl_divergence",
        variant="by the log-variance",
        inputs=latents,
        formula=vae,
        gradient=None,  # the closed form is of the first argument
        event=(1, 1),
        argument=1,
    ),
    *(
        Case(
            name=name,
            inputs=close_vectors,
            formula=lambda a, b: mp.fsum((a - b) ** 2),
            gradient=lambda a, b: 2 * (a - b),
            event=(1, 1),
        )
        for name in ("vq_commitment_loss", "vq_codebook_loss")
    ),
    *(
        Case(
            name="min_snr_weights",
            variant="" if kind == "epsilon" else kind,
            options={"gamma": 4.0, "prediction": kind},
            inputs=levels,
            formula=snr_weight(kind, 4)[0],
            gradient=snr_weight(kind, 4)[1],
            event=(1,),
            scales=("tiny", "unit", "wide", "saturated"),
        )
        for kind in ("epsilon", "x0", "v")
    ),
    Case(
        name="edm_weights",
        inputs=levels,
        formula=each(lambda x: mp.exp(x) + 4),
        gradient=each(mp.exp),
        event=(1,),
        scales=("tiny", "unit", "wide", "saturated"),
    ),
    Case(
        name="flow_matching_loss",
        keywords=("noise",),
        inputs=flow,
        formula=lambda v, data, noise: mp.fsum((v - (data - noise)) ** 2),
        gradient=lambda v, data, noise: 2 * (v - (data - noise)),
        event=(1, 1, 1),
    ),
    *(
        Case(
            name="load_balancing_loss",
            variant="" if k == 1 else f"top {k}",
            options={} if k == 1 else {"top_k": k},
            inputs=routers,
            formula=lambda x, k=k: load_balancing(x, chosen(x, k)),
            gradient=lambda x, k=k: load_balancing_gradient(x, chosen(x, k)),
            event=(2,),
            vmapped=True,
            floor=balance_rounding,
        )
        for k in (1, 2)
    ),
    Case(
        name="load_balancing_loss",
        variant="assigned",
        inputs=assigned,
        formula=load_balancing,
        gradient=load_balancing_gradient,
        event=(2, 2),
        vmapped=True,
        floor=balance_rounding,
    ),
    Case(
        name="router_z_loss",
        inputs=lambda rng, scale: (softmax.logits(rng, scale, EXPERTS),),
        formula=lambda x: softmax.log_partition(x) ** 2,
        gradient=lambda x: 2 * softmax.log_partition(x) * softmax.softmax(x),
        event=(1,),
        floor=z_rounding,
    ),
    Case(
        name="uncertainty_weighted_sum",
        inputs=tasks,
        formula=kendall,
        gradient=lambda losses, s: each(lambda v: mp.exp(-v))(s),
        event=(1, 1),
        # A sum of terms of either sign.
        floor=lambda losses, s: 1e-7 * mp.fsum(abs(s)),
    ),
]
