"""Losses of batches of embeddings, one whole batch an example."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases.self_supervised import EMBEDDING_SCALES, lengths, sharply, units

MEMBERS, FEATURES, CLASSES = 5, 3, 3

# Who belongs together: pairs, a triple and a pair, everybody, nobody.
LABELS = ([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 1, 2, 3, 4])
# As numbers of classes, of which one may be absent.
CLASS_LABELS = ([0, 0, 1, 1, 2], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [2, 0, 2, 1, 0])


def labelled(choices):
    return np.array([choices[i % len(choices)] for i in range(BATCH)], np.int32)


def spread(rng: np.random.Generator, scale: Scale, labels):
    """Embeddings of a batch: short, ordinary, of all lengths, in clusters."""
    x = rng.normal(size=(BATCH, MEMBERS, FEATURES))
    match scale:
        case "tiny":
            return 1e-3 * x
        case "wide":
            return x * 10.0 ** rng.uniform(-2, 2, size=(BATCH, MEMBERS, 1))
        case "saturated":
            means = rng.normal(size=(BATCH, MEMBERS, FEATURES))
            return np.take_along_axis(means, labels[..., None], axis=1) + 0.1 * x
        case _:
            return x


def batches(rng, scale):
    labels = labelled(LABELS)
    return spread(rng, scale, labels), labels


def views(rng, scale):
    """Two views of each example: unrelated, or alike."""
    a = spread(rng, "unit" if scale == "saturated" else scale, None)
    b = rng.normal(size=a.shape)
    return a, a + 0.1 * b if scale == "saturated" else b


# ------------------------------------------------------------------ of cosines


def others(labels, i):
    """The positives and the negatives of an example."""
    positive = [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]
    return positive, [j for j in range(len(labels)) if labels[j] != labels[i]]


def of_cosines(loss):
    """From a loss of the row of an example's cosines, its positives and negatives."""

    def formula(x, labels):
        u, _ = units(x)
        rows = (u @ u.T, range(len(u)))
        return np.array(
            [loss(s, *others(labels, i)) for s, i in zip(*rows, strict=True)]
        )

    return formula


def through_cosines(slope):
    """From the loss's derivative by that row: by the embeddings, of all losses."""

    def gradient(x, labels):
        u, lengths = units(x)
        by_cosine = np.full((len(u), len(u)), mp.mpf(0))
        for i, s in enumerate(u @ u.T):
            for j, value in slope(s, *others(labels, i)).items():
                by_cosine[i, j] += value
        return by_embedding(by_cosine, u, lengths)

    return gradient


def by_embedding(by_cosine, u, lengths):
    by_unit = (by_cosine + by_cosine.T) @ u
    return np.array(
        [
            (g - mp.fsum(g * row) * row) / size
            for g, row, size in zip(by_unit, u, lengths, strict=True)
        ]
    )


def shares(values):
    """Exponentials by key, each divided by their sum; and the logarithm of that."""
    powers = {k: mp.exp(v) for k, v in values.items()}
    total = mp.fsum(powers.values())
    return {k: p / total for k, p in powers.items()}, total


def supcon(tau):
    tau = mp.mpf(tau)

    def parts(s, positive, negative):
        return shares({j: s[j] / tau for j in (*positive, *negative)})

    def loss(s, positive, negative):
        if not positive:
            return mp.mpf(0)
        _, total = parts(s, positive, negative)
        return mp.fsum(mp.log(total) - s[p] / tau for p in positive) / len(positive)

    def slope(s, positive, negative):
        if not positive:
            return {}
        p, _ = parts(s, positive, negative)
        share = mp.mpf(1) / len(positive)
        return {j: (p[j] - (share if j in positive else 0)) / tau for j in p}

    return loss, slope


def circle(margin, scale):
    m, gamma = mp.mpf(margin), mp.mpf(scale)

    def parts(s, positive, negative):
        pull = {p: gamma * ((1 - s[p]) ** 2 - m**2) for p in positive}
        push = {n: gamma * max(s[n] + m, 0) * (s[n] - m) for n in negative}
        # max(0, 1 + m - s) is never 0 for a cosine.
        return shares(pull), shares(push)

    def loss(s, positive, negative):
        (_, pull), (_, push) = parts(s, positive, negative)
        return mp.log(1 + pull * push)

    def slope(s, positive, negative):
        (p, pull), (q, push) = parts(s, positive, negative)
        z = pull * push / (1 + pull * push)
        moves = {j: -2 * z * p[j] * gamma * (1 - s[j]) for j in positive}
        return moves | {
            j: 2 * z * q[j] * gamma * s[j] for j in negative if s[j] + m > 0
        }

    return loss, slope


def multi_similarity(alpha, beta, threshold):
    a, b, level = map(mp.mpf, (alpha, beta, threshold))

    def parts(s, positive, negative):
        pull = {p: mp.exp(-a * (s[p] - level)) for p in positive}
        push = {n: mp.exp(b * (s[n] - level)) for n in negative}
        return pull, 1 + mp.fsum(pull.values()), push, 1 + mp.fsum(push.values())

    def loss(s, positive, negative):
        _, near, _, far = parts(s, positive, negative)
        return mp.log(near) / a + mp.log(far) / b

    def slope(s, positive, negative):
        pull, near, push, far = parts(s, positive, negative)
        moves = {j: -v / near for j, v in pull.items()}
        return moves | {j: v / far for j, v in push.items()}

    return loss, slope


# ------------------------------------------------------------------ of two views


def of_views(x, y, tau, denominator):
    """(example, its view, the other view, the logits) and those that compete."""
    u, lengths = units(np.concatenate([x, y]))
    n = len(x)
    logits = u @ u.T / tau
    rows = []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        competing = [
            j for j in range(2 * n) if j != i and (denominator or j != partner)
        ]
        rows.append((i % n, i, partner, logits[i], competing))
    return rows, u, lengths


def two_views(tau, denominator):
    """NT-Xent, or without the positive in its denominator DCL."""
    tau = mp.mpf(tau)

    def loss(x, y):
        losses = np.full(len(x), mp.mpf(0))
        for example, _, partner, s, competing in of_views(x, y, tau, denominator)[0]:
            _, total = shares({j: s[j] for j in competing})
            losses[example] += (mp.log(total) - s[partner]) / 2
        return losses

    def gradient(x, y):
        rows, u, lengths = of_views(x, y, tau, denominator)
        by_cosine = np.full((len(u), len(u)), mp.mpf(0))
        for _, i, partner, s, competing in rows:
            for j, p in shares({j: s[j] for j in competing})[0].items():
                by_cosine[i, j] += p / (2 * tau)
            by_cosine[i, partner] -= 1 / (2 * tau)
        return by_embedding(by_cosine, u, lengths)[: len(x)]

    return loss, gradient


def n_pair(penalty=0):
    def rows(a, p):
        return [shares(dict(enumerate(s))) for s in a @ p.T]

    def loss(a, p):
        lengths = [mp.fsum(x * x) + mp.fsum(y * y) for x, y in zip(a, p, strict=True)]
        return np.array(
            [
                mp.log(total) - mp.fsum(a[i] * p[i]) + penalty * lengths[i]
                for i, (_, total) in enumerate(rows(a, p))
            ]
        )

    def gradient(a, p):
        by_product = np.array(
            [
                [share - (i == j) for j, share in shares_.items()]
                for i, (shares_, _) in enumerate(rows(a, p))
            ]
        )
        return by_product @ p + 2 * penalty * a

    return loss, gradient


def product_floor(a, p):
    # A logit is a dot product, rounded in the unit of its terms, and the gradient adds
    # up positives as large as such roundings make it.
    size = float(max(mp.fsum(abs(x * y)) for x in a for y in p))
    return 1e-6 * max(1.0, size)


# ------------------------------------------------------------------ proxies


def with_proxies(rng, scale):
    labels = labelled(CLASS_LABELS)
    proxies = rng.normal(size=(BATCH, CLASSES, FEATURES))
    return spread(rng, scale, labels), proxies, labels


def proxy_anchor(margin=0.1, alpha=32):
    delta, a = mp.mpf(margin), mp.mpf(alpha)

    def parts(x, proxies, labels):
        u, lengths = units(x)
        v, _ = units(proxies)
        present = len(set(labels.tolist()))
        for c in range(len(v)):
            s = [mp.fsum(row * v[c]) for row in u]
            pull = {
                i: mp.exp(-a * (s[i] - delta)) for i in range(len(u)) if labels[i] == c
            }
            push = {
                i: mp.exp(a * (s[i] + delta)) for i in range(len(u)) if labels[i] != c
            }
            yield c, pull, push, present, u, v, lengths

    def loss(x, proxies, labels):
        total = mp.mpf(0)
        for _, pull, push, present, _, v, _ in parts(x, proxies, labels):
            total += mp.log(1 + mp.fsum(pull.values())) / present
            total += mp.log(1 + mp.fsum(push.values())) / len(v)
        return total

    def gradient(x, proxies, labels):
        result = 0 * x
        for c, pull, push, present, u, v, sizes in parts(x, proxies, labels):
            near, far = 1 + mp.fsum(pull.values()), 1 + mp.fsum(push.values())
            moves = {i: -a * p / (near * present) for i, p in pull.items()}
            moves |= {i: a * p / (far * len(v)) for i, p in push.items()}
            for i, move in moves.items():
                cosine = mp.fsum(u[i] * v[c])
                result[i] += move * (v[c] - cosine * u[i]) / sizes[i]
        return result

    return loss, gradient


# ------------------------------------------------------------------ mining


def distance(x, y):
    return mp.sqrt(mp.fsum((x - y) ** 2))


def hardest(x, labels):
    """(i, farthest positive, nearest negative)."""
    for i in range(len(x)):
        positive, negative = others(labels, i)
        if positive and negative:
            yield (
                i,
                max(positive, key=lambda j: distance(x[i], x[j])),
                min(negative, key=lambda j: distance(x[i], x[j])),
            )


def semi_hard(x, labels):
    """(i, a positive, the nearest negative beyond it or else the farthest)."""
    for i in range(len(x)):
        positive, negative = others(labels, i)
        for p in positive if negative else []:
            to = {n: distance(x[i], x[n]) for n in negative}
            beyond = [n for n in negative if to[n] > distance(x[i], x[p])]
            if beyond:
                yield i, p, min(beyond, key=to.__getitem__)
            else:
                yield i, p, max(negative, key=to.__getitem__)


def mined(triplets, soft=False):
    def lead(x, i, p, n):
        return distance(x[i], x[p]) - distance(x[i], x[n])

    def loss(x, labels):
        losses = np.full(len(x), mp.mpf(0))
        for i, p, n in triplets(x, labels):
            d = lead(x, i, p, n)
            losses[i] += mp.log(1 + mp.exp(d)) if soft else max(0, d + 1)
        return losses

    def gradient(x, labels):
        result = 0 * x
        for i, p, n in triplets(x, labels):
            d = lead(x, i, p, n)
            weight = 1 / (1 + mp.exp(-d)) if soft else int(d + 1 > 0)
            for other, sign in ((p, 1), (n, -1)):
                move = sign * weight * (x[i] - x[other]) / distance(x[i], x[other])
                result[i] += move
                result[other] -= move
        return result

    return loss, gradient


def farthest(x, labels):
    return max(distance(a, b) for a in x for b in x)


def mining_floor(x, labels):
    """The loss is a difference of distances, each of which is rounded once."""
    return 1e-6 * float(farthest(x, labels))


# A logit is a cosine over the temperature: its rounding is 1 / temperature times that
# of a number of the size of 1, whatever the loss itself is. The gradient adds up such
# terms over pairs, with both signs: that is what the floors below say.

IN_NATS = {
    "decoupled_contrastive_loss",
    "n_pair_loss",
    "nt_xent_loss",
    "supervised_contrastive_loss",
}
OWN_REDUCTION = {"proxy_anchor_loss"}

CASES = [
    *(
        Case(
            name="supervised_contrastive_loss",
            variant=variant,
            options=options,
            inputs=batches,
            formula=of_cosines(supcon(tau)[0]),
            gradient=through_cosines(supcon(tau)[1]),
            event=(2, 1),
            vmapped=True,
            scales=EMBEDDING_SCALES,
            floor=lambda x, labels, tau=tau: 5e-7 / tau,
            unit=lengths,
        )
        for variant, options, tau in (
            ("", {}, 0.1),
            ("temperature", {"temperature": 0.5}, 0.5),
        )
    ),
    *(
        Case(
            name=name,
            inputs=views,
            formula=two_views(tau, denominator)[0],
            gradient=two_views(tau, denominator)[1],
            event=(2, 2),
            vmapped=True,
            scales=EMBEDDING_SCALES,
            floor=lambda x, y, tau=tau: 5e-7 / tau,
            unit=lengths,
        )
        for name, tau, denominator in (
            ("nt_xent_loss", 0.5, True),
            ("decoupled_contrastive_loss", 0.1, False),
        )
    ),
    *(
        Case(
            name="n_pair_loss",
            variant="length penalty" if penalty else "",
            options={"length_penalty": penalty} if penalty else {},
            inputs=views,
            formula=n_pair(mp.mpf(penalty))[0],
            gradient=n_pair(mp.mpf(penalty))[1],
            event=(2, 2),
            vmapped=True,
            scales=EMBEDDING_SCALES,
            floor=product_floor,
        )
        for penalty in (0.0, 0.125)
    ),
    Case(
        name="circle_loss",
        options={"detach_pace": False},
        inputs=batches,
        formula=of_cosines(circle(0.4, 80)[0]),
        gradient=through_cosines(circle(0.4, 80)[1]),
        event=(2, 1),
        vmapped=True,
        scales=EMBEDDING_SCALES,
        # As above, with a scale of 80 in the place of 1 / temperature.
        floor=lambda x, labels: 80 * 5e-7,
        unit=sharply(80),
    ),
    Case(
        name="multi_similarity_loss",
        inputs=batches,
        formula=of_cosines(multi_similarity(2, 50, 0.5)[0]),
        gradient=through_cosines(multi_similarity(2, 50, 0.5)[1]),
        event=(2, 1),
        vmapped=True,
        scales=EMBEDDING_SCALES,
        # The exponents are rounded in the unit of beta, and so are the weights of the
        # negatives; the loss divides by it again.
        floor=lambda x, labels: 5e-7,
        unit=sharply(50),
    ),
    Case(
        name="proxy_anchor_loss",
        keywords=("labels",),
        inputs=with_proxies,
        formula=proxy_anchor()[0],
        gradient=proxy_anchor()[1],
        event=(2, 2, 1),
        vmapped=True,
        scales=EMBEDDING_SCALES,
        # As above, with alpha in the place of 1 / temperature.
        floor=lambda x, proxies, labels: 32 * 5e-7,
        unit=lengths,
    ),
    *(
        Case(
            name=name,
            variant="soft margin" if soft else "",
            options={"margin": None} if soft else {},
            inputs=batches,
            formula=mined(triplets, soft)[0],
            gradient=mined(triplets, soft)[1],
            event=(2, 1),
            kinks=True,
            vmapped=True,
            scales=EMBEDDING_SCALES,
            floor=mining_floor,
            unit=farthest,
        )
        for name, triplets in (
            ("batch_hard_triplet_loss", hardest),
            ("semi_hard_triplet_loss", semi_hard),
        )
        for soft in (False, True)
    ),
]
