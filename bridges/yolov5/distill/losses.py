"""Distillation losses between the maps of a teacher and a student, as functions of tensors.

A raw map is (B, anchors, H, W, 5 + classes): x, y, w, h, objectness and class logits, as `Detect`
gives it. Each cell and anchor is weighted by the teacher's objectness.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from bridges.yolov5.detector.boxes import corners, pairwise_iou


def squared(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """(s - t)^2 of logits, element by element; there is no temperature in it."""
    return (student - teacher).square()


def binary_kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 times the Bernoulli KL divergence, element by element.

    It is KL(p || q) with p = sigmoid(t / T) and q = sigmoid(s / T).

    Classes of YOLOv5 are independent sigmoids, so each is a distribution of its own.

    Reference:
        Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531,
        section 2 (the factor T^2 keeps the gradient's size).
    """
    s, t = student / temperature, teacher / temperature
    log = functional.logsigmoid
    heads = t.sigmoid() * (log(t) - log(s))
    tails = (-t).sigmoid() * (log(-t) - log(-s))
    return temperature**2 * (heads + tails)


def binary_cross_entropy(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of the student's probabilities with the teacher's, element by element.

    The teacher's logits go through a sigmoid first; there is no temperature in it.
    """
    return functional.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="none")


CLASS_LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "l2": squared,
    "kl": binary_kl,
    "bce": binary_cross_entropy,
}
"""How class logits are compared, by name."""


def logit_parts(
    student: torch.Tensor, teacher: torch.Tensor, loss: str = "l2", temperature: float = 5.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distances of two raw maps of one level in box, objectness and classes.

    Each is a mean over all its elements of the distance times the teacher's objectness. Boxes and
    objectness are compared by squares; a single class, which has no loss of its own, gives zero.

    Args:
        student: (B, anchors, H, W, 5 + classes).
        teacher: The same shape; it takes no gradient.
        loss: One of `CLASS_LOSSES`.
        temperature: Temperature of "kl".

    Reference:
        Mehta and Ozturk, Object Detection at 200 Frames Per Second, 2018, arXiv:1805.06361,
        section 3.2 (objectness-scaled distillation).
    """
    teacher = teacher.detach()
    sure = teacher[..., 4:5].sigmoid()
    box = (sure * squared(student[..., :4], teacher[..., :4], 1.0)).mean()
    objectness = (sure * squared(student[..., 4:5], teacher[..., 4:5], 1.0)).mean()
    if student.shape[-1] <= 6:
        return box, objectness, box.new_zeros(())
    compare = CLASS_LOSSES[loss]
    classes = (sure * compare(student[..., 5:], teacher[..., 5:], temperature)).mean()
    return box, objectness, classes


def imitation_mask(
    targets: torch.Tensor,
    anchors: torch.Tensor,
    batch: int,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> torch.Tensor:
    """Cells of a map in which an anchor overlaps an object well, (B, 1, H, W) of zeros and ones.

    For each object the bar is `threshold` times the best overlap that any anchor in any cell has
    with it; a cell with an anchor above the bar is in the mask.

    Args:
        targets: (n, 6): image, class, center x, center y, width, height, as fractions.
        anchors: (anchors, 2) widths and heights in cells of the map.
        batch: Number of images.
        height: Number of rows of the map.
        width: Number of columns of the map.
        threshold: Fraction of the best overlap, in (0, 1).

    Reference:
        Wang, Yuan, Zhang, Feng, Distilling Object Detectors with Fine-grained Feature Imitation,
        2019, arXiv:1906.03609, section 3.2.
    """
    mask = targets.new_zeros((batch, height, width))
    rows, columns = torch.meshgrid(
        torch.arange(height, device=targets.device, dtype=targets.dtype),
        torch.arange(width, device=targets.device, dtype=targets.dtype),
        indexing="ij",
    )
    centers = torch.stack((columns, rows), -1).reshape(-1, 1, 2) + 0.5
    sizes = anchors.to(targets).expand(height * width, -1, 2)
    around = corners(torch.cat((centers.expand_as(sizes), sizes), -1).reshape(-1, 4))
    cells = targets.new_tensor([width, height, width, height])
    for image in targets[:, 0].unique().long().tolist():
        boxes = corners(targets[targets[:, 0] == image, 2:6] * cells)
        overlap = pairwise_iou(boxes, around)
        best = overlap.amax(1, keepdim=True)
        inside = (overlap > threshold * best).view(len(boxes), height, width, -1)
        mask[image] = inside.any(-1).any(0).to(mask.dtype)
    return mask[:, None]


def imitation(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Half the squared distance of two maps in the cells of a mask, over the number of cells.

    Args:
        student: (B, C, H, W), through an adapter to the teacher's channels.
        teacher: (B, C, H, W); it takes no gradient.
        mask: (B, 1, H, W); an empty one gives zero.

    Reference:
        As `imitation_mask`, equation 3.
    """
    distance = (student - teacher.detach()).square() * mask
    return distance.sum() / mask.sum().clamp(min=1) / 2
