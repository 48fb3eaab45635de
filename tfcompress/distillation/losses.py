"""Distillation losses as pure functions of the student's and the teacher's tensors.

Logits have the shape `(N, classes)` or `(N, ..., classes)`, features `(N, ..., channels)`, channels
last. Every loss is a float32 scalar, computed in float32 and differentiable with respect to the
student's tensor. No function here depends on a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from tfcompress.losses import one_hot_labels

_TINY = 1e-12


def soft_targets(student: Any, teacher: Any, temperature: float = 4.0) -> Any:
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`, mean over all positions.

    The factor `T^2` keeps the gradient's scale when the temperature changes.

    Reference: Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, section
    2.

    Args:
        student: Logits `(N, ..., classes)`. A single channel is a binary logit, that of class 1.
        teacher: Logits of the same shape.
        temperature: Temperature T, above 0.
    """
    student, teacher = (_log_softmax(x, temperature) for x in (student, teacher))
    return temperature**2 * ops.mean(ops.sum(ops.exp(teacher) * (teacher - student), axis=-1))


def decoupled(
    student: Any,
    teacher: Any,
    labels: Any = None,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Any:
    """`T^2 (alpha TCKD + beta NCKD)`: target class against the others, and among the others.

    Reference: Zhao et al.: "Decoupled Knowledge Distillation", CVPR 2022, equation 7.

    Args:
        student: Logits `(N, ..., classes)`.
        teacher: Logits of the same shape.
        labels: Target classes, as indices or one-hot. None takes the teacher's most likely class.
        temperature: Temperature T, above 0.
        target_weight: Weight alpha of the target-class part (TCKD).
        other_weight: Weight beta of the part among the other classes (NCKD).
    """
    student, teacher = (_float(_two_classes(x)) / temperature for x in (student, teacher))
    if labels is None:
        labels = ops.argmax(teacher, axis=-1)
    target = one_hot_labels(labels, teacher)
    (s_target, s_rest, s_within), (t_target, t_rest, t_within) = (
        _target_and_rest(x, target) for x in (student, teacher)
    )
    tckd = ops.exp(t_target) * (t_target - s_target) + ops.exp(t_rest) * (t_rest - s_rest)
    nckd = ops.sum((1 - target) * ops.exp(t_within) * (t_within - s_within), axis=-1)
    return temperature**2 * ops.mean(target_weight * tckd + other_weight * nckd)


def pixel_wise(student: Any, teacher: Any, temperature: float = 1.0) -> Any:
    """Soft targets at every pixel. A teacher map of another size is resized to the student's.

    Reference: Liu et al.: "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019,
    equation 1.

    Args:
        student: Logits `(N, H, W, classes)`.
        teacher: Logits `(N, H', W', classes)`.
        temperature: Temperature T, above 0.
    """
    return soft_targets(student, resized(teacher, student), temperature)


def channel_wise(student: Any, teacher: Any, temperature: float = 4.0) -> Any:
    """`T^2 / C sum_c KL` between the channels' softmax over positions: where each channel looks.

    Reference: Shu et al.: "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021,
    equation 4.

    Args:
        student: Logits or features `(N, H, W, C)`.
        teacher: Logits or features `(N, H', W', C)`, resized to the student's size if it differs.
        temperature: Temperature T, above 0.
    """
    student, teacher = (
        _log_softmax(_positions_last(x), temperature) for x in (student, resized(teacher, student))
    )
    return temperature**2 * ops.mean(ops.sum(ops.exp(teacher) * (teacher - student), axis=-1))


def hint(student: Any, teacher: Any) -> Any:
    """Mean squared difference of features.

    Reference: Romero et al.: "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3 (there with
    a factor of 1/2). The regressor that adapts the student's width belongs to the `Hint` layer.

    Args:
        student: Features `(N, ..., C)`.
        teacher: Features `(N, ..., C)`; maps are resized to the student's size if it differs.
    """
    return ops.mean(ops.square(_float(student) - _float(resized(teacher, student))))


def attention_transfer(student: Any, teacher: Any, power: float = 2.0) -> Any:
    """Mean squared difference of the normalized attention maps `sum_c |F_c|^p`.

    The channel counts of student and teacher may differ.

    Reference: Zagoruyko, Komodakis: "Paying More Attention to Attention", ICLR 2017, equation 2,
    with squares and the mean over positions, as in the authors' code (which weights it by 1000).

    Args:
        student: Features `(N, H, W, C)`.
        teacher: Features `(N, H', W', C')`. Its map is resized to the student's size if it differs.
        power: Exponent p.
    """
    student, teacher = (
        ops.sum(ops.power(ops.abs(_float(x)), power), axis=-1, keepdims=True)
        for x in (student, teacher)
    )
    student, teacher = (_unit(_flat(x)) for x in (student, resized(teacher, student)))
    return ops.mean(ops.square(student - teacher))


def relational(
    student: Any, teacher: Any, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> Any:
    """Huber loss of the distances of all pairs and the angles of all triples in a batch.

    Reference: Park et al.: "Relational Knowledge Distillation", CVPR 2019, equations 5 to 9.

    Args:
        student: Embeddings `(N, D)`, or feature maps, which are averaged over the positions.
        teacher: Embeddings `(N, D')`, or feature maps.
        distance_weight: Weight of the distance loss; 0 leaves it out.
        angle_weight: Weight of the angle loss; 0 leaves it out.
    """
    student, teacher = (_float(embedding(x)) for x in (student, teacher))
    loss = 0.0
    if distance_weight:
        loss += distance_weight * _huber(_distances(student), _distances(teacher))
    if angle_weight:
        loss += angle_weight * _huber(_angles(student), _angles(teacher))
    return loss


def contrastive(student: Any, teacher: Any, temperature: float = 0.07) -> Any:
    """Symmetric InfoNCE in the batch: match each student embedding to its teacher's, and back.

    Reference: Tian, Krishnan, Isola: "Contrastive Representation Distillation", ICLR 2020. They
    take negatives from a memory bank of the whole data set. Here negatives come from the batch, so
    larger batches work better.

    Args:
        student: Embeddings `(N, D)`, or feature maps, which are averaged over the positions.
        teacher: Embeddings `(N, D)`, or feature maps.
        temperature: Divisor of the cosine similarities, above 0.
    """
    student, teacher = (_unit(_float(embedding(x))) for x in (student, teacher))
    similarity = ops.matmul(student, ops.transpose(teacher)) / temperature
    matches = ops.diagonal(similarity)
    both = ops.logsumexp(similarity, axis=0) + ops.logsumexp(similarity, axis=1)
    return ops.mean(both / 2 - matches)


LOSSES: dict[str, Callable[..., Any]] = {
    "soft_targets": soft_targets,
    "decoupled": decoupled,
    "pixel_wise": pixel_wise,
    "channel_wise": channel_wise,
    "hint": hint,
    "attention_transfer": attention_transfer,
    "relational": relational,
    "contrastive": contrastive,
}
"""All losses by name, each a function `(student, teacher, ...) -> scalar`."""


def resized(teacher: Any, student: Any) -> Any:
    """The teacher's map resized bilinearly to the student's height and width.

    Tensors of any rank but 4, and maps of equal size, are returned unchanged.
    """
    if len(teacher.shape) != 4 or tuple(teacher.shape[1:3]) == tuple(student.shape[1:3]):
        return teacher
    size = (student.shape[1], student.shape[2])
    return ops.image.resize(_float(teacher), size, antialias=True, data_format="channels_last")


def embedding(features: Any) -> Any:
    """Average `(N, ..., C)` over the positions, to `(N, C)`."""
    axes = tuple(range(1, len(features.shape) - 1))
    return ops.mean(_float(features), axis=axes) if axes else features


def _float(x: Any) -> Any:
    return ops.cast(x, "float32")


def _two_classes(logits: Any) -> Any:
    """Expand a single binary logit to the logits of two classes: 0 and the logit."""
    if logits.shape[-1] != 1:
        return logits
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)


def _log_softmax(logits: Any, temperature: float) -> Any:
    return ops.log_softmax(_float(_two_classes(logits)) / temperature, axis=-1)


def _target_and_rest(logits: Any, target: Any) -> tuple[Any, Any, Any]:
    """Log probabilities: the target's, all others' together, and each other's among the others."""
    everything = ops.logsumexp(logits, axis=-1)
    others = ops.logsumexp(ops.where(target > 0.5, -1e9, logits), axis=-1)
    chosen = ops.sum(target * logits, axis=-1)
    return chosen - everything, others - everything, logits - others[..., None]


def _flat(x: Any) -> Any:
    return ops.reshape(x, (ops.shape(x)[0], -1))


def _positions_last(x: Any) -> Any:
    """`(N, ..., C)` as `(N, C, positions)`."""
    return ops.transpose(ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1])), (0, 2, 1))


def _unit(x: Any) -> Any:
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), _TINY))


def _huber(student: Any, teacher: Any) -> Any:
    difference = ops.abs(student - ops.stop_gradient(teacher))
    return ops.mean(ops.where(difference < 1, ops.square(difference) / 2, difference - 0.5))


def _distances(x: Any) -> Any:
    """Euclidean distances of all pairs, divided by their mean."""
    squares = ops.sum(ops.square(x[:, None] - x[None]), axis=-1)
    apart = squares > _TINY  # the root has no gradient at 0
    distances = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
    count = ops.maximum(ops.sum(ops.cast(apart, "float32")), 1.0)
    return distances / ops.maximum(ops.sum(distances) / count, _TINY)


def _angles(x: Any) -> Any:
    """Cosines of the angles at sample j, for all triples (i, j, k)."""
    toward = _unit(x[:, None] - x[None])  # [i, j]: from j to i
    return ops.einsum("ijd,kjd->jik", toward, toward)
