"""The fused head: the loss on the logits, every transformation, few matmuls."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss import linear_log_probs, linear_softmax_cross_entropy

plain = jaxloss.softmax_cross_entropy_with_integer_labels

TOKENS, HIDDEN, CLASSES, CHUNK = 21, 5, 13, 8
"""Three chunks, the last of them not full."""

OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "z-loss": {"z_loss": 0.01},
    "softcap": {"logit_softcap": 3.0},
    "temperature": {"temperature": 0.7},
    "class weights": {"class_weights": np.linspace(0.5, 2, CLASSES, dtype=np.float32)},
    "ignored": {"ignore_index": 3},
    "bits": {"base": 2},
    "weights": {"weights": np.linspace(0, 2, TOKENS, dtype=np.float32)},
}
OPTIONS["all"] = {k: v for options in OPTIONS.values() for k, v in options.items()}


def problem(dtype=jnp.float32, seed=0):
    """Hidden states, kernel, bias and labels."""
    rng = np.random.default_rng(seed)
    arrays = [
        rng.normal(size=shape)
        for shape in ((TOKENS, HIDDEN), (HIDDEN, CLASSES), (CLASSES,))
    ]
    labels = jnp.asarray(rng.integers(CLASSES, size=TOKENS), jnp.int32)
    labels = labels.at[::5].set(3)
    return *(jnp.asarray(a, jnp.float64).astype(dtype) for a in arrays), labels


def exact(hidden, kernel, bias, labels, **options):
    """The plain loss on float64 logits."""
    wide = [a.astype(jnp.float64) for a in (hidden, kernel, bias)]
    z = jnp.matmul(wide[0], wide[1], precision="highest") + wide[2][None, :]
    return plain(z, labels, **options)


def fused(hidden, kernel, bias, labels, **options):
    options = {"chunk_size": CHUNK, **options}
    return linear_softmax_cross_entropy(hidden, kernel, labels, bias=bias, **options)


def relative(actual, expected) -> float:
    """The distance of two trees, relative to the length of each array."""
    worst = 0.0
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = (np.asarray(x, np.float64) for x in (a, e))
        assert a.shape == e.shape
        assert np.isfinite(a).all()
        worst = max(worst, np.linalg.norm(a - e) / max(np.linalg.norm(e), 1e-300))
    return worst


# What rounds: sums of 13 products in float32; a derivative to half precision before
# its matmul and its result after it (twice, for the hidden states').
ROUNDING = {"float64": 1e-14, "float32": 2e-6, "bfloat16": 8e-3, "float16": 1e-3}


def usual(*values, when, thorough=False):
    """A case that is always run, or in the thorough or only in the exhaustive run."""
    rarely = pytest.mark.thorough if thorough else pytest.mark.exhaustive
    return pytest.param(*values, marks=[] if when else [rarely])


# The sum differs from the mean by a factor; losses of their own are differentiated by
# other products, in half precision with a rounding of their own.
MEASURED = {("mean", "float32"), ("none", "bfloat16")}
COMBINATIONS = [
    usual(
        name,
        reduction,
        dtype,
        when=name == "all" and (reduction, dtype) in MEASURED,
        thorough=name == "all" and reduction != "sum",
    )
    for name in OPTIONS
    for reduction in ("mean", "sum", "none")
    for dtype in ROUNDING
    if dtype == "float32" or name in ("plain", "all")
]


@pytest.mark.parametrize(("name", "reduction", "dtype"), COMBINATIONS)
def test_is_the_loss_on_the_logits(name, reduction, dtype):
    *arrays, labels = problem(dtype)
    options = {**OPTIONS[name], "reduction": reduction}
    cotangent = jnp.linspace(-1, 1, TOKENS) if reduction == "none" else jnp.ones(())

    def total(loss, *arrays):
        value = loss(*arrays, labels, **options)
        return jnp.sum(value * cotangent.astype(value.dtype)), value

    def measure(loss, *arrays):
        of = jax.value_and_grad(functools.partial(total, loss), (0, 1, 2), has_aux=True)
        (_, value), gradients = jax.jit(of)(*arrays)
        return value, gradients

    value, gradients = measure(fused, *arrays)
    exact_value, exact_gradients = measure(exact, *arrays)
    assert value.dtype == ("float64" if dtype == "float64" else "float32")
    assert relative(value, exact_value) < min(ROUNDING[dtype], 1e-6)
    assert relative(gradients, exact_gradients) < ROUNDING[dtype]
    chex.assert_trees_all_equal_dtypes(gradients, tuple(arrays))
    if reduction == "none":
        options["backward"] = "save"
        _, gradients = measure(fused, *arrays)
        assert relative(gradients, exact_gradients) < 2 * ROUNDING[dtype]


@pytest.mark.thorough
@pytest.mark.parametrize("chunk", [1, 7, 20, 21, 64, None])
def test_chunks_change_nothing(chunk):
    *arrays, labels = problem()

    def run(chunk):
        loss = functools.partial(fused, labels=labels, chunk_size=chunk)
        return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*arrays)

    assert relative(run(chunk), run(CHUNK)) < 1e-6


# ------------------------------------------------------------------ transformations


def tangents(arrays):
    return tuple(0.3 * a + jnp.asarray(0.1, a.dtype) for a in arrays)


def inner(tree, other):
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return sum(jnp.vdot(a, b) for a, b in pairs)


every = (0, 1, 2)
TRANSFORMATIONS = {
    "jvp": lambda f, t: lambda *a: jax.jvp(f, a, t),
    "linearize": lambda f, t: lambda *a: jax.linearize(f, *a)[1](*t),
    "forward over reverse": lambda f, t: (
        lambda *a: jax.jvp(jax.grad(f, every), a, t)[1]
    ),
    "reverse over reverse": lambda f, t: jax.grad(
        lambda *a: inner(jax.grad(f, every)(*a), t), every
    ),
    "reverse over forward": lambda f, t: jax.grad(
        lambda *a: jax.jvp(f, a, t)[1], every
    ),
    "Hessian of the bias": lambda f, t: jax.hessian(f, 2),
    "checkpoint": lambda f, t: jax.grad(jax.checkpoint(f), every),
    "checkpoint that saves dots": lambda f, t: jax.grad(
        jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable), every
    ),
}


# What the others are made of.
ALWAYS = {
    ("jvp", "mean"),
    ("jvp", "none"),
    ("forward over reverse", "mean"),
    ("forward over reverse", "save"),
    ("reverse over reverse", "mean"),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "form"),
    [
        usual(name, form, when=(name, form) in ALWAYS)
        for name in TRANSFORMATIONS
        for form in ("mean", "none", "save")
    ],
)
def test_every_transformation(name, form):
    *arrays, labels = problem()
    options = {"mean": {"reduction": "mean"}, "none": {"reduction": "none"}}.get(
        form, {"reduction": "none", "backward": "save"}
    )

    def total(loss, *arrays):
        value = loss(*arrays, labels)
        # Something that is not linear follows.
        return jnp.sum(jnp.cos(value))

    ours = functools.partial(total, functools.partial(fused, **options))
    options.pop("backward", None)
    theirs = functools.partial(total, functools.partial(exact, **options))
    transform = TRANSFORMATIONS[name]
    actual = jax.jit(transform(ours, tangents(arrays)))(*arrays)
    wide = [a.astype(jnp.float64) for a in arrays]
    expected = transform(theirs, tangents(wide))(*wide)
    # Second derivatives add up terms of both signs.
    assert relative(actual, expected) < 2e-5


def batch(count=3):
    problems = [problem(seed=seed) for seed in range(count)]
    hidden, labels = (jnp.stack([p[i] for p in problems]) for i in (0, 3))
    return hidden, problems[0][1], problems[0][2], labels


MAPPED = {
    "vmap": lambda f: jax.vmap(f, (0, None, None, 0)),
    "vmap of grad": lambda f: jax.vmap(jax.grad(f, every), (0, None, None, 0)),
    "grad of vmap": lambda f: jax.grad(
        lambda *a: jnp.sum(jnp.sin(jax.vmap(f, (0, None, None, 0))(*a))), every
    ),
    "grad of vmap of jit": lambda f: jax.grad(
        lambda *a: jnp.sum(jnp.sin(jax.vmap(jax.jit(f), (0, None, None, 0))(*a))), every
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [usual(name, when=name == "vmap of grad") for name in MAPPED]
)
def test_vmap_over_hidden_states_and_labels(name):
    arrays = batch()
    mean = functools.partial(exact, reduction="mean")
    actual = jax.jit(MAPPED[name](fused))(*arrays)
    wide = *(a.astype(jnp.float64) for a in arrays[:3]), arrays[3]
    assert relative(actual, MAPPED[name](mean)(*wide)) < 5e-6


def test_a_shared_kernel_has_one_gradient():
    arrays = batch(3)
    run = jax.jit(MAPPED["grad of vmap"](fused)).lower(*arrays)
    assert f"3x{HIDDEN}x{CLASSES}x" not in run.as_text()


def test_scan_over_microbatches():
    hidden, kernel, bias, labels = batch(4)

    def accumulated(loss, kernel):
        def body(total, chunk):
            hidden, labels = chunk
            step = functools.partial(loss, hidden)
            value, gradient = jax.value_and_grad(step)(kernel, bias, labels)
            return (total[0] + value, total[1] + gradient), None

        zero = jnp.zeros((), bias.dtype), jnp.zeros_like(kernel)
        return jax.lax.scan(body, zero, (hidden, labels))[0]

    actual = jax.jit(functools.partial(accumulated, fused))(kernel)
    mean = [
        jax.value_and_grad(functools.partial(exact, h, reduction="mean"))(
            kernel, bias, y
        )
        for h, y in zip(hidden, labels, strict=True)
    ]
    expected = jax.tree.map(lambda *parts: sum(parts), *mean)
    assert relative(actual, expected) < 2e-6


@pytest.mark.exhaustive
def test_donated_arrays():
    *arrays, labels = problem()
    step = jax.jit(jax.grad(fused, every), donate_argnums=(0, 1))
    expected = jax.grad(fused, every)(*arrays, labels)
    assert relative(step(*arrays, labels), expected) < 1e-6


@pytest.mark.exhaustive
def test_weights_and_options_have_derivatives():
    *arrays, labels = problem()
    weights = jnp.linspace(0.5, 2.0, TOKENS)

    def total(loss, weights, options, dtype):
        cast = [a.astype(dtype) for a in arrays]
        return loss(*cast, labels, reduction="mean", weights=weights, **options)

    options = {
        "label_smoothing": jnp.float64(0.1),
        "z_loss": jnp.float64(0.01),
        "temperature": jnp.full(TOKENS, 0.7),
        "logit_softcap": jnp.float64(3.0),
        "class_weights": jnp.linspace(0.5, 2.0, CLASSES),
    }
    actual, expected = (
        jax.grad(functools.partial(total, loss), (0, 1))(weights, options, jnp.float64)
        for loss in (fused, exact)
    )
    assert relative(actual, expected) < 1e-12


@pytest.mark.exhaustive
def test_works_without_x64():
    *arrays, labels = problem()
    with jax.enable_x64(False):
        value, _ = jax.value_and_grad(fused)(*arrays, labels)
        assert value.dtype == jnp.float32


# ------------------------------------------------------------------ matmuls, memory


def compiled(function, *arrays):
    return jax.jit(function).lower(*arrays).compile()


def matmuls(function, *arrays) -> int:
    return len(re.findall(r"\bdot\(", compiled(function, *arrays).as_text()))


def total_of(**options):
    def total(hidden, kernel):
        labels = jnp.zeros(TOKENS, jnp.int32)
        loss = linear_softmax_cross_entropy(
            hidden, kernel, labels, chunk_size=CHUNK, **options
        )
        return jnp.sum(jnp.cos(loss))

    return total


MATMULS = {
    "value": (1, total_of()),
    "both gradients": (3, jax.value_and_grad(total_of(), (0, 1))),
    "hidden states only": (2, jax.value_and_grad(total_of(), 0)),
    "kernel only": (2, jax.value_and_grad(total_of(), 1)),
    "checkpoint": (4, jax.value_and_grad(jax.checkpoint(total_of()), (0, 1))),
    "one by one": (4, jax.value_and_grad(total_of(reduction="none"), (0, 1))),
    "one by one, saved": (
        3,
        jax.value_and_grad(total_of(reduction="none", backward="save"), (0, 1)),
    ),
}


@pytest.mark.parametrize("name", MATMULS)
def test_matmuls(name):
    count, function = MATMULS[name]
    hidden, kernel, *_ = problem()
    assert matmuls(function, hidden, kernel) == count


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_memory_is_that_of_a_chunk(dtype):
    hidden, classes, chunk = 32, 4096, 128

    def temporaries(tokens, **options):
        shape = jax.ShapeDtypeStruct
        arrays = (
            shape((tokens, hidden), dtype),
            shape((hidden, classes), dtype),
            shape((tokens,), jnp.int32),
        )
        loss = functools.partial(
            linear_softmax_cross_entropy, chunk_size=chunk, **options
        )
        step = compiled(jax.value_and_grad(loss, (0, 1)), *arrays)
        (plan,) = jaxloss.explain(loss, *arrays)
        used = step.memory_analysis().temp_size_in_bytes
        assert used <= plan.temporaries
        return used

    few, many = temporaries(2048), temporaries(8192)
    logits = 4 * 8192 * classes
    assert many < logits / 10
    # What grows is the gradient of the hidden states, before it is scaled.
    assert many - few <= 2 * 4 * (8192 - 2048) * hidden


@pytest.mark.thorough
def test_a_tied_embedding_is_not_transposed():
    """`[classes, hidden]` as it is: no other copy of it or of its gradient."""
    tokens, hidden, classes = 256, 16, 1000
    arrays = (
        jnp.zeros((tokens, hidden)).astype(jnp.float32),
        jnp.zeros((classes, hidden)).astype(jnp.float32),
        jnp.zeros(tokens, jnp.int32),
    )
    loss = functools.partial(linear_softmax_cross_entropy, class_axis=0, chunk_size=64)
    text = compiled(jax.value_and_grad(loss, (0, 1)), *arrays).as_text()
    assert f"f32[{hidden},{classes}]" not in text
    value, (_, gradient) = jax.value_and_grad(loss, (0, 1))(*arrays)
    np.testing.assert_allclose(value, np.log(classes), rtol=1e-6)
    assert gradient.shape == (classes, hidden)


# ------------------------------------------------------------------ precision


@pytest.mark.thorough
def test_error_does_not_grow_with_the_number_of_chunks():
    rng = np.random.default_rng(0)
    shape = (1024, 64), (64, 257)
    hidden, kernel = (jnp.asarray(rng.normal(size=s)).astype("bfloat16") for s in shape)
    labels = jnp.asarray(rng.integers(257, size=1024), jnp.int32)
    wide = [a.astype(jnp.float64) for a in (hidden, kernel)]
    bias = jnp.zeros(257)
    expected = jax.grad(functools.partial(exact, reduction="mean"), (0, 1))(
        *wide, bias, labels
    )

    def error(chunk):
        loss = functools.partial(linear_softmax_cross_entropy, chunk_size=chunk)
        return relative(jax.grad(loss, (0, 1))(hidden, kernel, labels), expected)

    one, many = error(1024), error(16)
    assert one < 3e-3
    assert abs(many / one - 1) < 0.02


@pytest.mark.exhaustive
def test_logits_stored_in_bfloat16():
    rng = np.random.default_rng(0)
    shape = (4096, 64), (64, 997)
    hidden, kernel = (jnp.asarray(rng.normal(size=s)).astype("bfloat16") for s in shape)
    kernel = kernel / 8
    labels = jnp.asarray(rng.integers(997, size=4096), jnp.int32)
    wide = [a.astype(jnp.float64) for a in (hidden, kernel)]
    mean = functools.partial(exact, reduction="mean")
    expected = jax.value_and_grad(mean, (0, 1))(*wide, jnp.zeros(997), labels)

    def run(dtype):
        loss = functools.partial(linear_softmax_cross_entropy, logits_dtype=dtype)
        return jax.value_and_grad(loss, (0, 1))(hidden, kernel, labels)

    value, gradients = run(jnp.bfloat16)
    assert 0 < relative(value, expected[0]) < 1e-5
    assert relative(run(None)[0], expected[0]) < 1e-6
    assert relative(gradients, expected[1]) < 8e-3


def test_float16_keeps_small_probabilities():
    """A derivative of 7e-8 is not rounded to a multiple of the smallest float16."""
    tokens, classes = 300, 5000
    hidden = jnp.full((tokens, 1), 2048.0, jnp.float16)
    kernel = jnp.zeros((1, classes), jnp.float16)
    bias = jnp.zeros(classes, jnp.float16).at[1].set(-8)
    labels = jnp.zeros(tokens, jnp.int32)
    loss = functools.partial(linear_softmax_cross_entropy, bias=bias)
    gradient = jax.jit(jax.grad(loss, 1))(hidden, kernel, labels)
    p = 1 / (classes - 1 + np.exp(-8))
    np.testing.assert_allclose(gradient[0, 1], 2048 * p * np.exp(-8), rtol=1e-3)
    np.testing.assert_allclose(gradient[0, 2:], 2048 * p, rtol=1e-3)


# ------------------------------------------------------------------ masks


MASKED = {(None, "none"), (12, "mean")}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("bound", "reduction"),
    [
        usual(bound, reduction, when=(bound, reduction) in MASKED)
        for bound in (None, 12)
        for reduction in ("mean", "sum", "none")
    ],
)
def test_masked_tokens_are_not_there(reduction, bound):
    hidden, kernel, bias, labels = problem()
    keep = jnp.arange(TOKENS) % 3 == 1
    garbage = jnp.where(keep[:, None], hidden, jnp.nan)
    wrong = jnp.where(keep, labels, 10**6)

    def run(hidden, labels, **options):
        def total(hidden, kernel, bias):
            value = fused(hidden, kernel, bias, labels, reduction=reduction, **options)
            return jnp.sum(value), value

        of = jax.grad(total, (0, 1, 2), has_aux=True)
        return of(hidden, kernel, bias)

    gradients, value = run(garbage, wrong, where=keep, max_tokens=bound)
    kept, kept_value = run(hidden[keep], labels[keep])
    if reduction == "none":
        assert (value[~keep] == 0).all()
        value = value[keep]
    assert relative(value, kept_value) < 1e-6
    assert (gradients[0][~keep] == 0).all()
    assert relative(gradients[0][keep], kept[0]) < 2e-6
    assert relative(gradients[1:], kept[1:]) < 2e-6


@pytest.mark.thorough
def test_a_broken_promise_is_loud():
    hidden, kernel, bias, labels = problem()
    keep = jnp.arange(TOKENS) < 6
    for reduction in ("mean", "none"):

        def total(hidden, kernel, reduction=reduction):
            return jnp.sum(
                fused(
                    hidden,
                    kernel,
                    bias,
                    labels,
                    where=keep,
                    max_tokens=5,
                    reduction=reduction,
                )
            )

        value, gradients = jax.value_and_grad(total, (0, 1))(hidden, kernel)
        assert np.isnan(value)
        assert np.isnan(gradients[0][:5]).all() and np.isnan(gradients[1]).all()


def test_a_bound_shrinks_the_matmuls():
    shape = jax.ShapeDtypeStruct
    arrays = (
        shape((4096, 64), jnp.float32),
        shape((64, 1000), jnp.float32),
        shape((4096,), jnp.int32),
    )

    def flops(**options):
        def loss(hidden, kernel, labels):
            return linear_softmax_cross_entropy(
                hidden, kernel, labels, ignore_index=-100, **options
            )

        (plan,) = jaxloss.explain(loss, *arrays)
        return plan.flops["value and both gradients"]

    assert flops(max_tokens=1024) * 4 == flops()


@pytest.mark.exhaustive
def test_removed_classes():
    hidden, kernel, bias, labels = problem()
    classes = jnp.arange(CLASSES) % 4 != 3
    # Tokens whose class is removed contribute nothing; label 3 is one of them.
    for mask in (classes[None, :], jnp.broadcast_to(classes, (TOKENS, CLASSES))):
        actual = jax.value_and_grad(fused, every)(
            hidden, kernel, bias, labels, where=mask
        )
        expected = jax.value_and_grad(exact, every)(
            hidden, kernel, bias, labels, where=mask, reduction="mean"
        )
        assert relative(actual, expected) < 2e-6


def test_nothing_kept_is_zero():
    *arrays, labels = problem()
    ignored = jnp.full_like(labels, -100)
    value, gradients = jax.value_and_grad(fused, every)(
        *arrays, ignored, ignore_index=-100
    )
    assert value == 0
    assert all((g == 0).all() for g in gradients)


@pytest.mark.parametrize("label", [-1, CLASSES, 2**31 - 1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_labels_that_do_not_exist_are_loud(label, reduction):
    *arrays, labels = problem()
    labels = labels.at[4].set(label)

    def total(*arrays):
        return jnp.sum(fused(*arrays, labels, reduction=reduction))

    value, gradients = jax.jit(jax.value_and_grad(total, every))(*arrays)
    assert np.isnan(value)
    assert np.isnan(gradients[0][4]).all()
    assert np.isnan(gradients[1]).all() and np.isnan(gradients[2]).all()


# ------------------------------------------------------------------ log-probabilities


@pytest.mark.thorough
def test_log_probs_and_entropies():
    hidden, kernel, bias, tokens = problem()

    def ours(hidden, kernel, bias):
        return linear_log_probs(
            hidden,
            kernel,
            tokens,
            bias=bias,
            temperature=0.7,
            return_entropy=True,
            chunk_size=CHUNK,
        )

    def theirs(hidden, kernel, bias):
        logs = jax.nn.log_softmax((hidden @ kernel + bias[None, :]) / 0.7)
        at_token = jnp.take_along_axis(logs, tokens[:, None], axis=1)[:, 0]
        return at_token, -jnp.sum(jnp.exp(logs) * logs, axis=1)

    arrays = hidden, kernel, bias
    wide = [a.astype(jnp.float64) for a in arrays]
    assert relative(ours(*arrays), theirs(*wide)) < 2e-6

    def total(function, *arrays):
        log_probs, entropies = function(*arrays)
        return jnp.sum(jnp.sin(log_probs) + jnp.cos(entropies))

    actual = jax.jit(jax.grad(functools.partial(total, ours), every))(*arrays)
    expected = jax.grad(functools.partial(total, theirs), every)(*wide)
    assert relative(actual, expected) < 5e-6
    with pytest.raises(NotImplementedError, match="backward"):
        linear_log_probs(hidden, kernel, tokens, return_entropy=True, backward="save")


# ------------------------------------------------------------------ any loss


ROWS = {
    "focal": jaxloss.softmax_focal_loss,
    "poly": jaxloss.poly_loss_cross_entropy,
    "soft labels": jaxloss.softmax_cross_entropy,
    "hinge": jaxloss.multiclass_hinge_loss,
    "a user's": lambda z, t: jnp.sum((jax.nn.softmax(z) - t) ** 2, axis=-1),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [usual(name, when=name == "a user's") for name in ROWS]
)
def test_the_fused_form_of_any_loss(name):
    hidden, kernel, bias, labels = problem()
    row = ROWS[name]
    soft = jax.nn.softmax(kernel.T[labels] @ kernel)
    target = labels if name in ("focal", "hinge") else soft

    def ours(hidden, kernel, bias):
        loss = jaxloss.linear_loss(row)
        return loss(hidden, kernel, target, bias=bias, chunk_size=CHUNK)

    def theirs(hidden, kernel, bias):
        return jnp.mean(row(hidden @ kernel + bias[None, :], target))

    arrays = hidden, kernel, bias
    actual = jax.jit(jax.value_and_grad(ours, every))(*arrays)
    assert relative(actual, jax.value_and_grad(theirs, every)(*arrays)) < 2e-6
    assert matmuls(jax.value_and_grad(ours, every), *arrays) == 3


@pytest.mark.thorough
@pytest.mark.parametrize("bound", [None, 12])
def test_masked_targets_may_hold_anything(bound):
    hidden, kernel, _, labels = problem()
    soft = jax.nn.softmax(kernel.T[labels] @ kernel)
    keep = jnp.arange(TOKENS) % 3 == 1

    def divergence(z, targets):
        logs = jnp.log(targets) - jax.nn.log_softmax(z)
        return jnp.sum(targets * logs, axis=-1)

    def run(hidden, targets, **options):
        def loss(kernel):
            fused = jaxloss.linear_loss(divergence)
            return fused(hidden, kernel, targets, chunk_size=CHUNK, **options)

        return jax.value_and_grad(loss)(kernel)

    garbage = jnp.where(keep[:, None], soft, jnp.nan)
    actual = run(hidden, garbage, where=keep, max_tokens=bound)
    assert relative(actual, run(hidden[keep], soft[keep])) < 2e-6


@pytest.mark.exhaustive
def test_no_target_kept_is_zero():
    hidden, kernel, _, labels = problem()

    def loss(kernel, row, targets):
        none = jnp.zeros(TOKENS, bool)
        return jaxloss.linear_loss(row)(hidden, kernel, targets, where=none)

    nan = jnp.full((TOKENS, CLASSES), jnp.nan, jnp.float32)
    for row, targets in ((jaxloss.softmax_cross_entropy, nan), (plain, labels + 999)):
        value, gradient = jax.value_and_grad(loss)(kernel, row, targets)
        assert value == 0 and (gradient == 0).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["clip_loss", "siglip_loss"])
def test_masked_pairs_are_not_there(name):
    rng = np.random.default_rng(0)
    shape = (10, 4)
    x, y = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    keep = jnp.arange(10) % 4 != 1
    weights = jnp.linspace(0.5, 2.0, 10).astype(jnp.float32)
    loss = functools.partial(getattr(jaxloss, name), chunk_size=3)

    def run(x, y, weights, **options):
        def mean(x, y):
            return loss(x, y, weights=weights, **options)

        return jax.value_and_grad(mean, (0, 1))(x, y)

    garbage = (jnp.where(keep[:, None], a, jnp.nan) for a in (x, y))
    value, gradients = run(*garbage, weights, where=keep)
    expected, slopes = run(x[keep], y[keep], weights[keep])
    assert relative(value, expected) < 1e-6
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert (gradient[~keep] == 0).all()
        assert relative(gradient[keep], slope) < 2e-6


@pytest.mark.exhaustive
def test_masked_queries_leave_their_keys():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(n, 4)), jnp.float32) for n in (6, 9))
    keep = jnp.arange(6) % 2 == 0
    losses = jaxloss.info_nce_loss(q, k, where=keep, reduction="none", chunk_size=4)
    expected = jnp.where(keep, plain(q @ k.T, jnp.arange(6)), 0)
    assert relative(losses, expected) < 1e-6
    labels = jnp.array([8, 0, 9, -1, 3, 2])
    losses = jaxloss.info_nce_loss(q, k, labels, reduction="none", chunk_size=4)
    wrong = (labels < 0) | (labels > 8)
    np.testing.assert_array_equal(np.isnan(losses), wrong)


@pytest.mark.thorough
def test_what_a_loss_closes_over_has_a_gradient():
    hidden, kernel, _, labels = problem()

    def ours(gamma):
        row = functools.partial(jaxloss.softmax_focal_loss, gamma=gamma)
        return jaxloss.linear_loss(row)(hidden, kernel, labels, chunk_size=CHUNK)

    def theirs(gamma):
        return jnp.mean(
            jaxloss.softmax_focal_loss(hidden @ kernel, labels, gamma=gamma)
        )

    actual = jax.jit(jax.value_and_grad(ours))(jnp.float32(1.5))
    assert relative(actual, jax.value_and_grad(theirs)(jnp.float32(1.5))) < 2e-6


@pytest.mark.thorough
def test_the_teacher_gets_no_gradient():
    hidden, kernel, bias, _ = problem()
    teacher, head, *_ = problem(seed=1)

    def loss(hidden, kernel, teacher, head):
        return jaxloss.linear_distillation_loss(
            hidden, kernel, teacher, head, bias=bias, chunk_size=CHUNK
        )

    run = jax.value_and_grad(loss, (0, 1, 2, 3))
    _, gradients = run(hidden, kernel, teacher, head)
    assert (gradients[2] == 0).all() and (gradients[3] == 0).all()
    assert (gradients[0] != 0).any()
    assert matmuls(jax.value_and_grad(loss, (0, 1)), hidden, kernel, teacher, head) == 4


# ------------------------------------------------------------------ errors, explain


BAD = {
    "hidden": (TypeError, "floating", {"hidden": jnp.ones((4, 5), jnp.int32)}),
    "kernel dtype": (TypeError, "floating", {"kernel": jnp.ones((5, 7), jnp.int32)}),
    "kernel shape": (ValueError, "class_axis=0", {"kernel": jnp.ones((7, 5))}),
    "kernel rank": (ValueError, "`kernel`", {"kernel": jnp.ones((5, 7, 1))}),
    "labels": (ValueError, "`labels`", {"labels": jnp.zeros((4, 1), jnp.int32)}),
    "soft labels": (TypeError, "integer", {"labels": jnp.ones((4, 7))}),
    "bias": (ValueError, "`bias`", {"bias": jnp.ones(5)}),
    "chunk_size": (ValueError, "positive", {"chunk_size": 0}),
    "logits_dtype": (ValueError, "floating-point", {"logits_dtype": jnp.int8}),
    "max_tokens": (ValueError, "positive", {"max_tokens": -1}),
    "backward": (ValueError, "'recompute'", {"backward": "both"}),
    "axis_name": (ValueError, "shard_map", {"axis_name": "model"}),
    "class_axis": (ValueError, "`class_axis`", {"class_axis": 2}),
    "implementation": (ValueError, "'xla'", {"implementation": "cuda"}),
    "kernel of another device": (
        NotImplementedError,
        "'mosaic_gpu'",
        {"implementation": "mosaic_gpu"},
    ),
    "class_weights": (ValueError, "`class_weights`", {"class_weights": jnp.ones(5)}),
    "where": (ValueError, "`where`", {"where": jnp.ones((4, 3), bool)}),
    "weights": (ValueError, "`weights`", {"weights": jnp.ones(5)}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    kind, text, change = BAD[name]
    arguments = {
        "hidden": jnp.ones((4, 5)),
        "kernel": jnp.ones((5, 7)),
        "labels": jnp.zeros(4, jnp.int32),
        **change,
    }
    arrays = [arguments.pop(key) for key in ("hidden", "kernel", "labels")]
    with pytest.raises(kind, match=re.escape(text)) as error:
        linear_softmax_cross_entropy(*arrays, **arguments)
    assert "linear_softmax_cross_entropy" in str(error.value)


def test_a_loss_that_is_none():
    hidden, kernel, _, labels = problem()
    with pytest.raises(TypeError, match="`row_loss`"):
        jaxloss.linear_loss("focal")
    with pytest.raises(ValueError, match=r"one loss for each row, of shape \(21,\)"):
        jaxloss.linear_loss(lambda z, y: jnp.sum(z))(hidden, kernel, labels)
    with pytest.raises(ValueError, match=r"`targets\[0\]`"):
        jaxloss.linear_loss(plain)(hidden, kernel, labels[:3])


def test_explain(capsys):
    shape = jax.ShapeDtypeStruct
    arrays = (
        shape((8, 512, 256), jnp.bfloat16),
        shape((50_000, 256), jnp.bfloat16),
        shape((8, 512), jnp.int32),
    )
    (plan,) = jaxloss.explain(
        linear_softmax_cross_entropy, *arrays, class_axis=0, chunk_size=1024
    )
    assert (plan.tokens, plan.hidden, plan.classes) == (4096, 256, 50_000)
    assert plan.chunks == 4 and plan.implementation == "xla"
    assert plan.flops["value"] == 2 * 4096 * 256 * 50_000
    assert plan.matmuls["value and both gradients"] == 3
    text = capsys.readouterr().out
    assert "4 of 1,024 tokens" in text and "bfloat16" in text

    def step(hidden, kernel, labels):
        loss = linear_softmax_cross_entropy(hidden, kernel, labels, class_axis=0)
        return loss + jnp.sum(
            linear_log_probs(hidden, kernel, labels, class_axis=0, backward="save")
        )

    both = jaxloss.explain(jax.jit(step), *arrays)
    assert [plan.function for plan in both] == [
        "linear_softmax_cross_entropy",
        "linear_log_probs",
    ]
    assert both[1].matmuls["value and both gradients"] == 3


def test_explain_of_nothing():
    with pytest.raises(ValueError, match=r"jaxloss\.explain: `function`"):
        jaxloss.explain(jaxloss.squared_error, jnp.ones(2), jnp.zeros(2))
