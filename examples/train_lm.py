"""Trains a language model twice: on full logits with optax, without logits with ours.

    python -m examples.train_lm            # about two minutes on two CPU cores
    python -m examples.train_lm --tied     # the head is the embedding table
    python -m examples.train_lm --small    # seconds

The text is the Python standard library's own source, the tokens are its words, and
with 32,768 of them the head is most of the work and nearly all of the memory of a small
decoder-only transformer (Flax NNX, optax). Both runs start from the same parameters and
see the same batches; one takes the losses from the logits `hidden @ kernel` with
`optax.softmax_cross_entropy_with_integer_labels`, the other from `hidden` and `kernel`
with `jaxloss.linear_softmax_cross_entropy`. The losses must be the same at every step;
the memory is not. Two plots are written: the losses, and the memory.
"""

import argparse
import collections
import math
import re
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import jaxloss
from examples import summary

MIB = 2**20

# How far apart the losses of a step may be, relative to them. float32 rounds by 6e-8 of
# a number, and each run sums in an order of its own: that comes to about 1e-6, by way
# of the parameters too. One label wrong among the 2,048 of a step would be far more,
# about 1/2048.
BOUND = 1e-5


class Size(NamedTuple):
    """How large everything is."""

    vocabulary: int = 32_768
    width: int = 128
    heads: int = 4
    layers: int = 2
    length: int = 128  # tokens to a sequence
    batch: int = 16  # sequences to a step
    steps: int = 50
    held_out: int = 8  # batches
    every: int = 1  # of the files, one in so many


SMALL = Size(vocabulary=4096, width=32, layers=1, steps=8, held_out=1, every=8)


class Options(NamedTuple):
    tied: bool
    chunk_size: int | None

    @property
    def class_axis(self) -> int:
        """Of the head's weights: an embedding table has the vocabulary first."""
        return 0 if self.tied else -1


# The losses of a linear head. Each takes hidden states [..., hidden], the weights
# [hidden, vocabulary] (tied: [vocabulary, hidden]) and integer labels [...], and
# returns the mean.

Loss = Callable[[jax.Array, jax.Array, jax.Array, Options], jax.Array]


def on_logits(
    hidden: jax.Array, kernel: jax.Array, labels: jax.Array, options: Options
) -> jax.Array:
    logits = hidden @ (kernel.T if options.tied else kernel)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def without_logits(
    hidden: jax.Array, kernel: jax.Array, labels: jax.Array, options: Options
) -> jax.Array:
    return jaxloss.linear_softmax_cross_entropy(
        hidden,
        kernel,
        labels,
        class_axis=options.class_axis,
        chunk_size=options.chunk_size,
    )


LOSSES: dict[str, Loss] = {
    "optax, full logits": on_logits,
    "jaxloss, fused head": without_logits,
}


# The text: words, numbers one digit at a time, punctuation, and a new line together
# with the indentation after it. What is not in the vocabulary is token 0, which is
# read and predicted as any other.

TOKEN = re.compile(r"[^\W\d]\w*|\d|\n *|[^\w\s]")
UNKNOWN = 0
ASIDE = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


class Corpus(NamedTuple):
    """The standard library as a row of token numbers, whole files apart."""

    train: np.ndarray  # int32 [tokens]
    held_out: np.ndarray  # int32 [tokens]
    files: int
    words: int  # different ones in the training text
    coverage: float  # of the held-out text, by the vocabulary
    counting: float  # nats a token if every token had its frequency in training

    def batches(self, size: Size, seed: int) -> np.ndarray:
        """Sequences drawn at random, [steps, batch, length + 1]."""
        rng = np.random.default_rng(seed)
        last = len(self.train) - size.length
        starts = rng.integers(last, size=(size.steps, size.batch, 1))
        return self.train[starts + np.arange(size.length + 1)]

    def held_out_batches(self, size: Size) -> np.ndarray:
        """Sequences evenly over the held-out text, [batches, batch, length + 1]."""
        last = len(self.held_out) - size.length - 1
        starts = np.linspace(0, last, size.held_out * size.batch).astype(int)
        starts = starts.reshape(size.held_out, size.batch, 1)
        return self.held_out[starts + np.arange(size.length + 1)]


def read(size: Size, progress: Progress) -> Corpus:
    """The standard library without its tests; one file in twenty is held out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(
        path
        for path in root.rglob("*.py")
        if not ASIDE & set(path.relative_to(root).parts)
    )[:: size.every]
    train, held_out = [], []
    task = progress.add_task("reading the standard library", total=len(paths), note="")
    for number, path in enumerate(paths):
        text = path.read_text(encoding="utf-8", errors="replace")
        (held_out if number % 20 == 10 else train).extend(TOKEN.findall(text))
        progress.advance(task)

    counts = collections.Counter(train)
    kept = counts.most_common(size.vocabulary - 1)
    number_of = {word: number for number, (word, _) in enumerate(kept, start=1)}

    def numbers(words: Iterable[str]) -> np.ndarray:
        return np.array([number_of.get(word, UNKNOWN) for word in words], np.int32)

    train, held_out = numbers(train), numbers(held_out)
    # A token never seen counts as seen once.
    seen = np.maximum(np.bincount(train, minlength=size.vocabulary), 1)
    return Corpus(
        train,
        held_out,
        len(paths),
        len(counts),
        float((held_out != UNKNOWN).mean()),
        float(np.log(seen.sum() / seen[held_out]).mean()),
    )


# The network: a decoder-only transformer up to its last hidden states, and its head.


class Block(nnx.Module):
    def __init__(self, size: Size, *, rngs: nnx.Rngs):
        self.before_attention = nnx.RMSNorm(size.width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            size.heads,
            size.width,
            use_bias=False,
            out_kernel_init=nnx.initializers.zeros,
            decode=False,
            rngs=rngs,
        )
        self.before_feed_forward = nnx.RMSNorm(size.width, rngs=rngs)
        self.up = nnx.Linear(size.width, 4 * size.width, rngs=rngs)
        self.down = nnx.Linear(
            4 * size.width,
            size.width,
            kernel_init=nnx.initializers.zeros,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        x = x + self.attention(self.before_attention(x), mask=mask)
        return x + self.down(nnx.gelu(self.up(self.before_feed_forward(x))))


class Decoder(nnx.Module):
    def __init__(self, size: Size, options: Options, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)

        def embedding(rows: int) -> nnx.Embed:
            return nnx.Embed(rows, size.width, embedding_init=init, rngs=rngs)

        self.tokens = embedding(size.vocabulary)
        self.positions = embedding(size.length)
        self.blocks = nnx.List([Block(size, rngs=rngs) for _ in range(size.layers)])
        self.norm = nnx.RMSNorm(size.width, rngs=rngs)
        self.options = options
        if not options.tied:
            self.head = nnx.Linear(
                size.width,
                size.vocabulary,
                use_bias=False,
                kernel_init=init,
                rngs=rngs,
            )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """The hidden states before the head, [batch, length, width]."""
        positions = jnp.arange(tokens.shape[1])
        x = self.tokens(tokens) + self.positions(positions)[None]
        mask = nnx.make_causal_mask(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    def loss(self, batch: jax.Array, loss: Loss) -> jax.Array:
        """The mean loss of every next token."""
        tied = self.options.tied
        kernel = self.tokens.embedding if tied else self.head.kernel
        return loss(self(batch[:, :-1]), kernel[...], batch[:, 1:], self.options)


def train_step(
    model: Decoder, optimizer: nnx.Optimizer, batch: jax.Array, *, loss: Loss
) -> jax.Array:
    value, gradients = nnx.value_and_grad(lambda model: model.loss(batch, loss))(model)
    optimizer.update(model, gradients)
    return value


# Training: two runs side by side.


class Run:
    """One of the two: its parameters, its compiled step, and what it measured."""

    def __init__(
        self, name: str, size: Size, options: Options, seed: int, batch: np.ndarray
    ):
        self.name = name
        self.loss = LOSSES[name]
        self.model = Decoder(size, options, rngs=nnx.Rngs(seed))
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, 5e-3, size.steps // 10 + 1, size.steps + 1
        )
        optimizer = optax.adamw(schedule, weight_decay=0.01)
        self.optimizer = nnx.Optimizer(self.model, optimizer, wrt=nnx.Param)

        step = nnx.jit(partial(train_step, loss=self.loss))
        self.step = step.lower(self.model, self.optimizer, batch).compile()
        self.evaluate = nnx.jit(partial(Decoder.loss, loss=self.loss))
        self.memory_of_step = temporaries(self.step)
        gradients = jax.value_and_grad(self.loss, argnums=(0, 1))
        alone = jax.jit(gradients, static_argnums=3)
        alone = alone.lower(*shapes(size, options), options).compile()
        self.memory_of_loss = temporaries(alone)

        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.held_out = math.nan

    def train(self, batch: np.ndarray) -> None:
        start = time.perf_counter()
        value = self.step(self.model, self.optimizer, batch)
        jax.block_until_ready((value, nnx.state(self.model)))
        self.seconds.append(time.perf_counter() - start)
        self.losses.append(float(value))


def temporaries(compiled) -> int:
    """Bytes beside inputs and outputs, at the peak."""
    return compiled.memory_analysis().temp_size_in_bytes


def shapes(size: Size, options: Options) -> list[jax.ShapeDtypeStruct]:
    """Of the hidden states, the head's weights and the labels of a step."""
    tokens = (size.batch, size.length)
    head = (size.width, size.vocabulary)
    return [
        jax.ShapeDtypeStruct((*tokens, size.width), jnp.float32),
        jax.ShapeDtypeStruct(head[::-1] if options.tied else head, jnp.float32),
        jax.ShapeDtypeStruct(tokens, jnp.int32),
    ]


def train(
    corpus: Corpus, size: Size, options: Options, seed: int, progress: Progress
) -> list[Run]:
    batches = corpus.batches(size, seed)
    runs = []
    task = progress.add_task("compiling", total=len(LOSSES), note="")
    for name in LOSSES:
        runs.append(Run(name, size, options, seed, batches[0]))
        progress.advance(task)

    # A step of each in turn, so that whatever else the machine does meets both.
    task = progress.add_task("training both", total=size.steps, note="")
    for batch in batches:
        for run in runs:
            run.train(batch)
        progress.update(task, advance=1, note=f"loss {runs[-1].losses[-1]:.3f}")

    batches = corpus.held_out_batches(size)
    task = progress.add_task("held-out text", total=len(batches) * len(runs), note="")
    for run in runs:
        losses = []
        for batch in batches:
            losses.append(float(run.evaluate(run.model, batch)))
            progress.advance(task)
        run.held_out = statistics.fmean(losses)
    return runs


# What it printed and plotted.


def comparison(runs: list[Run]) -> Table:
    table = Table(title="side by side")
    table.add_column("")
    for run in runs:
        table.add_column(run.name, justify="right")
    table.add_column("ratio", justify="right")

    def memory(number: float) -> str:
        return f"{number / MIB:,.1f} MiB"

    def compare(title: str, show: Callable[[float], str], numbers: list[float]) -> None:
        first, second = numbers
        table.add_row(title, show(first), show(second), f"{first / second:.2f}")

    compare("temporaries, train step", memory, [r.memory_of_step for r in runs])
    compare("temporaries, loss alone", memory, [r.memory_of_loss for r in runs])
    compare(
        "time a step, median",
        lambda seconds: f"{seconds * 1e3:,.0f} ms",
        [statistics.median(r.seconds) for r in runs],
    )
    table.add_section()

    def state(title: str, show: Callable[[Run], str]) -> None:
        table.add_row(title, *map(show, runs), "")

    state("training loss, first step", lambda r: f"{r.losses[0]:.6f}")
    state("training loss, last step", lambda r: f"{r.losses[-1]:.6f}")
    state("held out, nats a token", lambda r: f"{r.held_out:.5f}")
    state("held out, bits a token", lambda r: f"{r.held_out / math.log(2):.5f}")
    state("held out, perplexity", lambda r: f"{math.exp(r.held_out):.2f}")
    return table


def differences(runs: list[Run]) -> list[float]:
    """Of the losses of each step, relative."""
    first, second = (run.losses for run in runs)
    return [abs(a - b) / abs(a) for a, b in zip(first, second, strict=True)]


def panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(
        figsize=(5 * count, 3.8),
        dpi=150,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
    )
    axes = list(figure.subplots(1, count, squeeze=False).flat)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_losses(runs: list[Run], path: Path) -> None:
    figure, (losses, apart) = panels(2)
    styles = [{"linewidth": 5, "alpha": 0.4}, {"linewidth": 1.2, "color": "black"}]
    steps = range(1, len(runs[0].losses) + 1)
    for run, style in zip(runs, styles, strict=True):
        losses.plot(steps, run.losses, label=run.name, **style)
    losses.set(title="Both losses", xlabel="step", ylabel="nats a token")
    losses.legend(frameon=False)
    apart.plot(steps, differences(runs), ".-")
    apart.set(title="How far apart", xlabel="step", ylabel="difference, relative")
    figure.savefig(path)


def plot_memory(runs: list[Run], path: Path) -> None:
    figure, (axis,) = panels(1)
    for index, run in enumerate(runs):
        numbers = [run.memory_of_step / MIB, run.memory_of_loss / MIB]
        places = [place + 0.4 * (index - 0.5) for place in range(len(numbers))]
        bars = axis.bar(places, numbers, width=0.38, label=run.name)
        axis.bar_label(bars, fmt="{:,.0f}")
    axis.set_xticks([0, 1], ["train step", "loss and gradients alone"])
    axis.set(title="Temporaries", ylabel="MiB")
    axis.grid(visible=False, axis="x")
    axis.legend(frameon=False)
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.train_lm",
        description="Train a language model with and without full logits.",
    )
    parser.add_argument(
        "--tied",
        action="store_true",
        help="the embedding table is the head (default: a head of its own)",
    )
    parser.add_argument(
        "--chunk-size",
        type=int,
        default=None,
        help="tokens at a time in jaxloss's head (default: it chooses)",
    )
    parser.add_argument("--steps", type=int, default=None, help="default: 50")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--bound",
        type=float,
        default=BOUND,
        help="how far apart the two losses of a step may be, relative to them "
        f"(default: {BOUND:g})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "output",
        help="where the plots go (default: examples/output)",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="a smaller text, vocabulary and network, and 8 steps",
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    size = SMALL if arguments.small else Size()
    if arguments.steps is not None:
        size = size._replace(steps=arguments.steps)
    options = Options(arguments.tied, arguments.chunk_size)
    # On a GPU or TPU too, both multiply float32 as float32.
    jax.config.update("jax_default_matmul_precision", "highest")

    console = Console()
    jaxloss.explain(
        jaxloss.linear_softmax_cross_entropy,
        *shapes(size, options),
        class_axis=options.class_axis,
        chunk_size=options.chunk_size,
    )
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    ) as progress:
        corpus = read(size, progress)
        console.print(
            f"{len(corpus.train):,} tokens to learn from, "
            f"{len(corpus.held_out):,} held out, of {corpus.files} files\n"
            f"{corpus.words:,} different ones; the {size.vocabulary:,} of the "
            f"vocabulary cover {corpus.coverage:.1%} held out"
        )
        runs = train(corpus, size, options, arguments.seed, progress)
    console.print(comparison(runs))
    console.print(f"Held out, by frequencies alone: {corpus.counting:.3f} nats a token")
    worst = max(differences(runs))
    console.print(
        f"The losses of a step differ by at most {worst:.1e} of themselves "
        f"(allowed: {arguments.bound:.0e})"
    )

    arguments.out.mkdir(parents=True, exist_ok=True)
    plots = {"lm_losses.png": plot_losses, "lm_memory.png": plot_memory}
    console.print("Plots:")
    for file_name, plot in plots.items():
        plot(runs, arguments.out / file_name)
        console.print(f"  {arguments.out / file_name}", soft_wrap=True)

    summary.write(
        arguments.out,
        "train_lm",
        {
            "tokens": size.batch * size.length,
            "classes": size.vocabulary,
            "steps": size.steps,
            "runs": [
                {
                    "head": run.name,
                    "held_out": run.held_out,
                    "memory_of_loss": run.memory_of_loss,
                    "memory_of_step": run.memory_of_step,
                    "seconds": statistics.median(run.seconds),
                }
                for run in runs
            ],
            "plots": list(plots),
        },
    )

    if not worst <= arguments.bound:  # NaN is not
        console.print("the two losses are not the same: more than rounding apart")
        return 1
    held_out = max(run.held_out for run in runs)
    if not arguments.small and arguments.steps is None and held_out > corpus.counting:
        console.print("nothing was learned: frequencies alone predict better")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
