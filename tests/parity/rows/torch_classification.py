"""torch.nn.functional: what is between scores and classes."""

import numpy as np

from tests.parity.row import Row, distributions, normal, signs, uniform

LOGITS = normal(0, 6, 5, scale=2.0)
IMAGES = normal(1, 3, 5, 4)
LABELS = np.asarray([0, 3, 4, 1, 1, 2])
PIXELS = np.asarray([[0, 1, 4, 2], [3, 3, 2, 1], [4, 0, 0, 2]])
SOFT = distributions(2, 6, 5)
CLASS_WEIGHTS = np.asarray([0.5, 2.0, 1.0, 0.25, 3.0])
PROBS = uniform(3, 6, 5)
HOLDS = (normal(4, 6, 5) > 0).astype(float)
WEIGHTS = uniform(5, 6, 5)
# torch's list of the labels that hold, ended by -1, of the first, the second ... row.
LISTS = np.asarray([[3, 0, -1, 1, 1], [1, -1, 0, 2, 2], [4, 3, 2, 1, -1], [-1] * 5])
MASK = np.asarray([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 1, 1, 1, 1], [0] * 5])


INTEGER = "softmax_cross_entropy_with_integer_labels"
CROSS_ENTROPY = [
    Row(
        "cross_entropy",
        INTEGER,
        (LOGITS,),
        lambda f, x, y: f(x, y, reduction="none"),
        fixed=(LABELS,),
    ),
    Row(
        "cross_entropy",
        INTEGER,
        (100 * LOGITS,),
        lambda f, x, y: f(x, y, reduction="none"),
        fixed=(LABELS,),
        case="saturated",
    ),
    Row(
        "cross_entropy",
        INTEGER,
        (IMAGES,),
        lambda f, x, y: f(x, y, reduction="none"),
        lambda f, x, y: f(x, y, axis=1),
        fixed=(PIXELS,),
        case="images",
        differs="the classes are on the last axis, unless it is said otherwise",
    ),
    Row(
        "cross_entropy",
        INTEGER,
        (LOGITS,),
        lambda f, x, y, w: f(x, y, weight=w),
        lambda f, x, y, w: f(x, y, class_weights=w, reduction="mean"),
        fixed=(LABELS, CLASS_WEIGHTS),
        case="weighted mean",
    ),
    Row(
        "cross_entropy",
        INTEGER,
        (LOGITS,),
        lambda f, x, y: f(x, y, label_smoothing=0.1, reduction="none"),
        lambda f, x, y: f(x, y, label_smoothing=0.1),
        fixed=(LABELS,),
        case="smoothed",
    ),
    Row(
        "cross_entropy",
        INTEGER,
        (LOGITS,),
        lambda f, x, y, w: f(x, y, weight=w, label_smoothing=0.1),
        lambda f, x, y, w: f(
            x, y, class_weights=w, label_smoothing=0.1, reduction="mean"
        ),
        fixed=(LABELS, CLASS_WEIGHTS),
        case="smoothed, weighted mean",
    ),
    Row(
        "cross_entropy",
        INTEGER,
        (LOGITS,),
        lambda f, x, y, w: f(x, y, weight=w, ignore_index=1),
        lambda f, x, y, w: f(x, y, class_weights=w, ignore_index=1, reduction="mean"),
        fixed=(LABELS, CLASS_WEIGHTS),
        case="ignored, weighted mean",
        differs="torch ignores -100 without being told",
    ),
    Row(
        "cross_entropy",
        "softmax_cross_entropy",
        (LOGITS, SOFT),
        lambda f, x, t: f(x, t, reduction="none"),
        case="probabilities",
    ),
    Row(
        "cross_entropy",
        "softmax_cross_entropy",
        (LOGITS, SOFT),
        lambda f, x, t, w: f(x, t, weight=w, label_smoothing=0.1, reduction="none"),
        lambda f, x, t, w: f(x, t, class_weights=w, label_smoothing=0.1),
        fixed=(CLASS_WEIGHTS,),
        case="probabilities, smoothed, weighted",
    ),
    Row(
        "nll_loss",
        "nll_loss",
        (LOGITS,),
        lambda f, x, y: f(x, y, reduction="none"),
        fixed=(LABELS,),
    ),
    Row(
        "nll_loss",
        "nll_loss",
        (LOGITS,),
        lambda f, x, y, w: f(x, y, weight=w, ignore_index=4),
        lambda f, x, y, w: f(x, y, class_weights=w, ignore_index=4, reduction="mean"),
        fixed=(LABELS, CLASS_WEIGHTS),
        case="ignored, weighted mean",
    ),
    Row(
        "linear_cross_entropy",
        "linear_softmax_cross_entropy",
        (normal(6, 6, 3), normal(7, 5, 3), normal(8, 5)),
        lambda f, h, w, b, y: f(h, w, y, linear_bias=b),
        lambda f, h, w, b, y: f(h, w, y, bias=b, class_axis=0),
        fixed=(LABELS,),
    ),
    Row(
        "linear_cross_entropy",
        "linear_softmax_cross_entropy",
        (normal(6, 6, 3), normal(7, 5, 3)),
        lambda f, h, w, y, c: f(
            h, w, y, weight=c, label_smoothing=0.1, ignore_index=1, reduction="sum"
        ),
        lambda f, h, w, y, c: f(
            h,
            w,
            y,
            class_weights=c,
            label_smoothing=0.1,
            ignore_index=1,
            reduction="sum",
            class_axis=0,
        ),
        fixed=(LABELS, CLASS_WEIGHTS),
        case="smoothed, weighted, ignored",
    ),
]

BINARY = [
    Row(
        "binary_cross_entropy",
        "binary_cross_entropy",
        (PROBS,),
        lambda f, p, y, w: f(p, y, weight=w, reduction="none"),
        lambda f, p, y, w: f(p, y, weights=w),
        fixed=(WEIGHTS[::-1], WEIGHTS),
        differs="torch clamps the logarithm at -100: test_differences.py",
    ),
    Row(
        "binary_cross_entropy_with_logits",
        "sigmoid_binary_cross_entropy",
        (LOGITS, WEIGHTS),
        lambda f, x, y: f(x, y, reduction="none"),
    ),
    Row(
        "binary_cross_entropy_with_logits",
        "sigmoid_binary_cross_entropy",
        (100 * LOGITS,),
        lambda f, x, y: f(x, y, reduction="none"),
        fixed=(HOLDS,),
        case="saturated",
    ),
    Row(
        "binary_cross_entropy_with_logits",
        "sigmoid_binary_cross_entropy",
        (LOGITS,),
        lambda f, x, y, w, c: f(x, y, weight=w, pos_weight=c),
        lambda f, x, y, w, c: (
            f(x, y, weights=w, pos_weight=c, reduction="sum") / x.size
        ),
        fixed=(HOLDS, WEIGHTS, CLASS_WEIGHTS[None] + np.zeros((6, 1))),
        case="weighted mean",
        differs="torch's mean divides by the entries, ours by their weights",
    ),
    Row(
        "soft_margin_loss",
        "soft_margin_loss",
        (LOGITS,),
        lambda f, x, y: f(x, y, reduction="none"),
        fixed=(signs(9, 6, 5).astype(float),),
    ),
]

MARGINS = [
    Row(
        "multi_margin_loss",
        "multiclass_hinge_loss",
        (LOGITS,),
        lambda f, x, y: f(x, y, margin=0.7, reduction="none"),
        lambda f, x, y: f(x, y, margin=0.7, variant="weston_watkins") / 5,
        fixed=(LABELS,),
        differs="torch divides by the number of classes",
    ),
    Row(
        "multi_margin_loss",
        "multiclass_hinge_loss",
        (LOGITS,),
        lambda f, x, y: f(x, y, p=2, reduction="none"),
        lambda f, x, y: f(x, y, power=2, variant="weston_watkins") / 5,
        fixed=(LABELS,),
        case="squared",
        differs="torch divides by the number of classes",
    ),
    Row(
        "multilabel_margin_loss",
        "multilabel_margin_loss",
        (LOGITS[:4],),
        lambda f, x, lists, mask: f(x, lists, reduction="none"),
        lambda f, x, lists, mask: f(x, mask),
        fixed=(LISTS, MASK),
        differs="torch takes lists of indices, ended by -1",
    ),
    Row(
        "multilabel_soft_margin_loss",
        "multilabel_soft_margin_loss",
        (LOGITS,),
        lambda f, x, y, w: f(x, y, weight=w, reduction="none"),
        lambda f, x, y, w: f(x, y, class_weights=w),
        fixed=(HOLDS, CLASS_WEIGHTS),
    ),
]

LENGTHS = np.asarray([7, 5, 6])
SEQUENCES = np.asarray([[1, 2, 2], [3, 1, 0], [2, 0, 0]])
WRITTEN = np.asarray([3, 2, 1])


def torch_ctc(f, x, y, lengths, written, **options):
    log_probs = x.log_softmax(-1).transpose(0, 1)
    return f(log_probs, y, lengths, written, **options)


CTC = [
    Row(
        "ctc_loss",
        "ctc_loss",
        (normal(10, 3, 7, 4),),
        lambda f, *x: torch_ctc(f, *x, reduction="none"),
        lambda f, x, y, lengths, written: f(
            x, None, y, None, logit_lengths=lengths, label_lengths=written
        ),
        fixed=(SEQUENCES, LENGTHS, WRITTEN),
        differs="torch takes log-probabilities, frames first",
    ),
    Row(
        "ctc_loss",
        "ctc_loss",
        (normal(10, 3, 7, 4),),
        lambda f, *x: torch_ctc(f, *x, zero_infinity=True, reduction="none"),
        lambda f, x, y, lengths, written: f(
            x,
            None,
            y,
            None,
            logit_lengths=lengths,
            label_lengths=written,
            zero_infinity=True,
        ),
        fixed=(SEQUENCES, np.asarray([7, 1, 6]), WRITTEN),
        case="zero_infinity",
    ),
]

FOCAL = [
    Row(
        "torchvision.ops.sigmoid_focal_loss",
        "sigmoid_focal_loss",
        (LOGITS,),
        lambda f, x, y: f(x, y, alpha=0.3, gamma=1.5),
        lambda f, x, y: f(x, y, alpha=0.3, gamma=1.5),
        fixed=(HOLDS,),
        package="torchvision",
        differs="alpha is None by default (torchvision: 0.25)",
    ),
]

ROWS = [*CROSS_ENTROPY, *BINARY, *MARGINS, *CTC, *FOCAL]
