"""Trains a small network on handwritten digits, with a loss of your choice.

    python -m examples.train_digits                      # integer cross entropy
    python -m examples.train_digits --loss focal brier   # two losses, side by side
    python -m examples.train_digits --loss all           # every loss below

The network is Flax NNX, the optimiser is optax, the digits are scikit-learn's (1797
images of 8 by 8 pixels) and the losses are jaxloss's. Two plots are written: the
training curves, and each loss and its gradient against the logit of the right class.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxloss
from examples import summary

CLASSES = 10
TARGET_ACCURACY = 0.95


# The losses. Each takes logits [batch, classes] and integer labels [batch], and
# returns one number an example.

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def one_hot(labels: jax.Array) -> jax.Array:
    return jax.nn.one_hot(labels, CLASSES)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.softmax_cross_entropy_with_integer_labels(logits, labels)


def smoothed_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.softmax_cross_entropy(logits, one_hot(labels), label_smoothing=0.1)


def poly(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.poly_loss_cross_entropy(logits, one_hot(labels), epsilon=2.0)


def focal(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.softmax_focal_loss(logits, labels, gamma=2.0)


def crammer_singer(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.multiclass_hinge_loss(logits, labels, variant="crammer_singer")


def weston_watkins(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.multiclass_hinge_loss(logits, labels, variant="weston_watkins")


def sparsemax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.multiclass_sparsemax_loss(logits, labels)


def one_vs_rest(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Ten yes-or-no questions an image, summed."""
    return jaxloss.sigmoid_binary_cross_entropy(logits, one_hot(labels)).sum(-1)


def one_vs_rest_focal(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jaxloss.sigmoid_focal_loss(logits, one_hot(labels), gamma=2.0).sum(-1)


def kl(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The divergence from smoothed targets to the predictions."""
    targets = jaxloss.smooth_labels(one_hot(labels), alpha=0.1)
    return jaxloss.kl_divergence(jax.nn.log_softmax(logits), targets)


def brier(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The squared error of the probabilities, summed over the classes."""
    return jaxloss.squared_error(jax.nn.softmax(logits), one_hot(labels)).sum(-1)


LOSSES: dict[str, tuple[str, Loss]] = {
    "cross-entropy": ("cross entropy", cross_entropy),
    "smoothing": ("cross entropy, label smoothing 0.1", smoothed_cross_entropy),
    "poly": ("poly loss, ε = 2", poly),
    "focal": ("softmax focal, γ = 2", focal),
    "hinge": ("multiclass hinge (Crammer–Singer)", crammer_singer),
    "hinge-ww": ("multiclass hinge (Weston–Watkins)", weston_watkins),
    "sparsemax": ("multiclass sparsemax", sparsemax),
    "binary": ("binary cross entropy, one vs rest", one_vs_rest),
    "binary-focal": ("sigmoid focal, one vs rest, γ = 2", one_vs_rest_focal),
    "kl": ("KL divergence, smoothed targets", kl),
    "brier": ("squared error of probabilities", brier),
}


# The data, the network and one step of training.


class Split(NamedTuple):
    images: jax.Array  # float32 [examples, 64], in 0..1
    labels: jax.Array  # int32 [examples]

    def batches(self, size: int, rng: np.random.Generator) -> Iterator["Split"]:
        """Shuffled batches of exactly `size`; the remainder is left for next time."""
        order = rng.permutation(len(self.labels))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield Split(self.images[chosen], self.labels[chosen])


def load(small: bool) -> tuple[Split, Split]:
    """The digits as a training and a held-out split."""
    images, labels = load_digits(return_X_y=True)
    x, x_held_out, y, y_held_out = train_test_split(
        np.float32(images / 16),
        np.int32(labels),
        test_size=0.2,
        stratify=labels,
        random_state=0,
    )
    if small:
        x, y = x[:512], y[:512]
    return (
        Split(jnp.asarray(x), jnp.asarray(y)),
        Split(jnp.asarray(x_held_out), jnp.asarray(y_held_out)),
    )


class Network(nnx.Module):
    def __init__(self, hidden: int, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = nnx.relu(self.first(images))
        x = nnx.relu(self.second(x))
        return self.head(x)


@partial(nnx.jit, static_argnames="loss")
def train_step(
    model: Network, optimizer: nnx.Optimizer, batch: Split, loss: Loss
) -> jax.Array:
    def objective(model: Network) -> jax.Array:
        return loss(model(batch.images), batch.labels).mean()

    value, gradients = nnx.value_and_grad(objective)(model)
    optimizer.update(model, gradients)
    return value


@partial(nnx.jit, static_argnames="loss")
def evaluate(model: Network, split: Split, loss: Loss) -> tuple[jax.Array, jax.Array]:
    """The mean loss and the accuracy."""
    logits = model(split.images)
    hits = logits.argmax(-1) == split.labels
    return loss(logits, split.labels).mean(), hits.mean()


# Training, its table and its plots.


class Epoch(NamedTuple):
    train_loss: float
    held_out_loss: float
    train_accuracy: float
    held_out_accuracy: float


class Run(NamedTuple):
    name: str
    title: str
    loss: Loss
    epochs: list[Epoch]
    seconds: float


def train(
    name: str,
    epochs: int,
    seed: int,
    train_split: Split,
    held_out: Split,
    progress: Progress,
) -> Run:
    title, loss = LOSSES[name]
    batch_size = 64
    steps = epochs * (len(train_split.labels) // batch_size)
    schedule = optax.cosine_decay_schedule(init_value=3e-3, decay_steps=steps)
    model = Network(128, rngs=nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.adamw(schedule), wrt=nnx.Param)
    rng = np.random.default_rng(seed)

    history = []
    task = progress.add_task(title, total=steps, accuracy="")
    start = time.perf_counter()
    for _ in range(epochs):
        for batch in train_split.batches(batch_size, rng):
            train_step(model, optimizer, batch, loss)
            progress.advance(task)
        train_loss, train_accuracy = evaluate(model, train_split, loss)
        held_out_loss, held_out_accuracy = evaluate(model, held_out, loss)
        history.append(
            Epoch(
                float(train_loss),
                float(held_out_loss),
                float(train_accuracy),
                float(held_out_accuracy),
            )
        )
        progress.update(task, accuracy=f"held out {history[-1].held_out_accuracy:.1%}")
    return Run(name, title, loss, history, time.perf_counter() - start)


def epoch_table(run: Run) -> Table:
    table = Table(title=run.title)
    table.add_column("epoch", justify="right")
    for column in ("train loss", "held-out loss", "train acc.", "held-out acc."):
        table.add_column(column, justify="right")
    for number, epoch in enumerate(run.epochs, start=1):
        table.add_row(
            str(number),
            f"{epoch.train_loss:.4f}",
            f"{epoch.held_out_loss:.4f}",
            f"{epoch.train_accuracy:.1%}",
            f"{epoch.held_out_accuracy:.1%}",
        )
    return table


def summary_table(runs: list[Run]) -> Table:
    table = Table(title="after the last epoch")
    table.add_column("loss")
    for column in ("train loss", "held-out loss", "held-out acc.", "seconds"):
        table.add_column(column, justify="right")
    for run in runs:
        last = run.epochs[-1]
        table.add_row(
            run.name,
            f"{last.train_loss:.4f}",
            f"{last.held_out_loss:.4f}",
            f"{last.held_out_accuracy:.1%}",
            f"{run.seconds:.1f}",
        )
    return table


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most three to a row."""
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    size = (6.5, 4.2) if count == 1 else (4.2 * columns, 3.2 * rows)
    figure = Figure(
        figsize=size, dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    for axis in axes[:count]:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def plot_losses(runs: list[Run], path: Path) -> None:
    figure, axes = panels(len(runs))
    for axis, run in zip(axes, runs, strict=True):
        numbers = range(1, len(run.epochs) + 1)
        axis.plot(numbers, [e.train_loss for e in run.epochs], label="training")
        axis.plot(numbers, [e.held_out_loss for e in run.epochs], label="held out")
        axis.set(title=run.title, xlabel="epoch", ylabel="mean loss", ylim=(0, None))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(frameon=False)
    figure.savefig(path)


def plot_accuracies(runs: list[Run], path: Path) -> None:
    figure, (axis,) = panels(1)
    colours = colormaps["tab20"]
    for index, run in enumerate(runs):
        numbers = range(1, len(run.epochs) + 1)
        held_out = [e.held_out_accuracy for e in run.epochs]
        axis.plot(numbers, held_out, color=colours(index), label=run.title)
    axis.set(title="Accuracy on held-out digits", xlabel="epoch", ylabel="accuracy")
    axis.set_ylim(top=1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.legend(frameon=False, fontsize="small", loc="lower right")
    figure.savefig(path)


def plot_gradients(runs: list[Run], path: Path) -> None:
    """Each loss and its derivative in the logit of the right class, others at 0."""
    logits = jnp.linspace(-6, 6, 481)
    right_class = jnp.array([0])

    def value_at(logit: jax.Array, loss: Loss) -> jax.Array:
        return loss(jnp.zeros((1, CLASSES)).at[0, 0].set(logit), right_class)[0]

    figure, axes = panels(len(runs))
    for axis, run in zip(axes, runs, strict=True):
        curve = jax.vmap(jax.value_and_grad(partial(value_at, loss=run.loss)))
        values, slopes = curve(logits)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.plot(logits, values, label="loss")
        axis.plot(logits, slopes, label="derivative")
        axis.set(
            title=run.title,
            xlabel="logit of the right class (others 0)",
            ylabel="loss, and its derivative",
        )
    axes[0].legend(frameon=False)
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.train_digits",
        description="Train a network on handwritten digits with the loss you choose.",
    )
    parser.add_argument(
        "--loss",
        nargs="+",
        choices=[*LOSSES, "all"],
        default=["cross-entropy"],
        metavar="NAME",
        help=f"one or more of: {', '.join(LOSSES)}; or all (default: cross-entropy)",
    )
    parser.add_argument("--epochs", type=int, default=None, help="default: 20")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "output",
        help="where the plots go (default: examples/output)",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="512 digits and 2 epochs, with no accuracy to reach",
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    names = list(LOSSES) if "all" in arguments.loss else arguments.loss
    epochs = arguments.epochs or (2 if arguments.small else 20)
    train_split, held_out = load(arguments.small)

    console = Console()
    console.print(
        f"{len(train_split.labels)} digits to learn from, "
        f"{len(held_out.labels)} held out, {epochs} epochs"
    )
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps  {task.fields[accuracy]}"),
        console=console,
    ) as progress:
        runs = [
            train(name, epochs, arguments.seed, train_split, held_out, progress)
            for name in names
        ]
    for run in runs if len(runs) <= 2 else []:
        console.print(epoch_table(run))
    console.print(summary_table(runs))

    arguments.out.mkdir(parents=True, exist_ok=True)
    plots = {
        "losses.png": plot_losses,
        "accuracies.png": plot_accuracies,
        "gradients.png": plot_gradients,
    }
    console.print("Plots:")
    for file_name, plot in plots.items():
        plot(runs, arguments.out / file_name)
        console.print(f"  {arguments.out / file_name}", soft_wrap=True)

    summary.write(
        arguments.out,
        "train_digits",
        {
            "digits": len(train_split.labels),
            "epochs": epochs,
            "runs": [
                {
                    "loss": run.name,
                    "held_out_accuracy": run.epochs[-1].held_out_accuracy,
                    "seconds": run.seconds,
                }
                for run in runs
            ],
            "plots": list(plots),
        },
    )

    worst = min(run.epochs[-1].held_out_accuracy for run in runs)
    if not arguments.small and worst < TARGET_ACCURACY:
        console.print(f"held-out accuracy {worst:.1%} is below {TARGET_ACCURACY:.0%}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
