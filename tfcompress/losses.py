"""Keras losses: Dice, categorical focal and their sum for segmentation, macro F1 for classes.

With `normalize_weights=False`, Dice and focal equal those of `segmentation_models` to 1e-6. In
addition, integer and one-hot labels are told apart and checked, class weights are checked and
normalized, half-precision predictions are computed in float32, and saved compiled models load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfcompress.errors import ConfigError, DataError
from tfcompress.short_repr import ReprByConfig


def one_hot_labels(y_true: Any, y_pred: Any) -> Any:
    """Convert labels to one-hot float32 with the shape of the predictions.

    Args:
        y_true: Class indices of shape `(...)` or `(..., 1)`, of any integer or float type, or
            one-hot (or soft) labels of shape `(..., classes)`.
        y_pred: Predictions `(..., classes)`.

    Returns:
        Labels `(..., classes)`, float32.

    Raises:
        DataError: The labels match the predictions neither as class indices nor as one-hot.
    """
    classes = y_pred.shape[-1]
    true_rank, pred_rank = len(y_true.shape), len(y_pred.shape)
    if true_rank == pred_rank and y_true.shape[-1] == classes:
        return ops.cast(y_true, "float32")
    if true_rank == pred_rank and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, axis=-1)
    elif true_rank != pred_rank - 1:
        raise DataError(
            "labels",
            f"shape {tuple(y_true.shape)} matches predictions of shape {tuple(y_pred.shape)} "
            "neither as class indices nor as one-hot",
            f"give indices without the last axis, or one-hot labels of {classes} classes",
        )
    return ops.one_hot(ops.cast(y_true, "int32"), classes, dtype="float32")


def normalized_class_weights(
    class_weights: Sequence[float] | None, normalize: bool
) -> tuple[float, ...] | None:
    """Validate class weights.

    Args:
        class_weights: One number of at least 0 per class; None for no weights.
        normalize: Whether to scale the weights so that they sum to the number of classes.

    Returns:
        The weights as a tuple; None for None.

    Raises:
        ConfigError: The weights are not a sequence of at least two non-negative finite numbers with
            a positive sum.
    """
    if class_weights is None:
        return None
    weights = np.asarray(class_weights, dtype=np.float64)
    if weights.ndim != 1 or weights.size < 2:
        raise ConfigError(
            "class_weights",
            f"their shape is {weights.shape}",
            "give one number per class",
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise ConfigError(
            "class_weights",
            f"{weights.tolist()} has a negative or non-finite weight, or sums to 0",
            "give non-negative numbers of which at least one is positive",
        )
    if normalize:
        weights = weights * (weights.size / weights.sum())
    return tuple(weights.tolist())


class _ClassWeighted(ReprByConfig, keras.losses.Loss):
    """Base of the losses: class weights, and probabilities computed from logits on request."""

    def __init__(
        self,
        class_weights: Sequence[float] | None,
        normalize_weights: bool,
        from_logits: bool,
        name: str,
        reduction: str | None,
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self._weights = normalized_class_weights(class_weights, normalize_weights)
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.normalize_weights = normalize_weights
        self.from_logits = from_logits

    def _inputs(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """One-hot labels and float32 probabilities, both `(..., classes)`."""
        y_pred = ops.cast(y_pred, "float32")
        classes = y_pred.shape[-1]
        if self._weights is not None and len(self._weights) != classes:
            raise ConfigError(
                f"{self.name} class_weights",
                f"there are {len(self._weights)} weights, but the model has {classes} classes",
                f"give {classes} numbers",
            )
        y_true = one_hot_labels(y_true, y_pred)
        return y_true, ops.softmax(y_pred, axis=-1) if self.from_logits else y_pred

    def _weigh(self, per_class: Any) -> Any:
        if self._weights is None:
            return per_class
        return per_class * ops.convert_to_tensor(self._weights, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {
            **super().get_config(),
            "class_weights": self.class_weights,
            "normalize_weights": self.normalize_weights,
            "from_logits": self.from_logits,
        }


@keras.saving.register_keras_serializable(package="tfcompress")
class DiceLoss(_ClassWeighted):
    """`1 - mean_c w_c (2 TP_c + s) / (2 TP_c + FP_c + FN_c + s)`, over the whole batch.

    Reference: Milletari, Navab, Ahmadi: "V-Net", 3DV 2016, section 3, in the form of
    `segmentation_models.losses.DiceLoss`.

    Args:
        class_weights: One weight per class, in channel order; None weighs all classes equally.
        smooth: Smoothing term s. With it, a class that is neither present nor predicted scores 1.
        normalize_weights: Whether to scale the weights to sum to the number of classes. Without it,
            weights that sum to 1 leave a perfect prediction with a loss of `1 - 1 / classes`.
        from_logits: Whether the predictions are logits rather than probabilities.
        name: Name of the loss.
        reduction: Reduction mode of Keras. The loss is already one number per batch.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1e-5,
        normalize_weights: bool = True,
        from_logits: bool = False,
        name: str = "dice",
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__(class_weights, normalize_weights, from_logits, name, reduction)
        self.smooth = smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar."""
        y_true, y_pred = self._inputs(y_true, y_pred)
        axes = tuple(range(len(y_pred.shape) - 1))
        overlap = ops.sum(y_true * y_pred, axis=axes)
        total = ops.sum(y_true, axis=axes) + ops.sum(y_pred, axis=axes)
        return 1 - ops.mean(self._weigh((2 * overlap + self.smooth) / (total + self.smooth)))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "smooth": self.smooth}


@keras.saving.register_keras_serializable(package="tfcompress")
class CategoricalFocalLoss(_ClassWeighted):
    """`-mean(w_c alpha y (1 - p)^gamma log p)` over all pixels and classes.

    Reference: Lin, Goyal, Girshick, He, Dollar: "Focal Loss for Dense Object Detection", ICCV
    2017, equation 5, in the form of `segmentation_models.losses.CategoricalFocalLoss`.

    Args:
        alpha: Factor of the whole loss.
        gamma: Focusing exponent: the larger, the less easy pixels count. With 0 the loss is cross
            entropy times alpha, averaged over the classes too.
        class_weights: One weight per class, in channel order; None weighs all classes equally.
        normalize_weights: Whether to scale the weights to sum to the number of classes.
        from_logits: Whether the predictions are logits rather than probabilities.
        name: Name of the loss.
        reduction: Reduction mode of Keras. The loss is already one number per batch.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        normalize_weights: bool = True,
        from_logits: bool = False,
        name: str = "categorical_focal",
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__(class_weights, normalize_weights, from_logits, name, reduction)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar."""
        y_true, y_pred = self._inputs(y_true, y_pred)
        epsilon = keras.config.epsilon()
        y_pred = ops.clip(y_pred, epsilon, 1 - epsilon)
        focus = self.alpha * ops.power(1 - y_pred, self.gamma)
        return -ops.mean(self._weigh(y_true * focus * ops.log(y_pred)))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="tfcompress")
class DiceFocalLoss(_ClassWeighted):
    """`dice_weight * Dice + focal_weight * focal`, the loss of the aerial-imagery project.

    Args:
        dice_weight: Weight of `DiceLoss`.
        focal_weight: Weight of `CategoricalFocalLoss`.
        class_weights: One weight per class for the Dice part, in channel order; None weighs all
            classes equally.
        weigh_focal: Whether the focal part uses the class weights too.
        alpha: Factor of the focal part.
        gamma: Focusing exponent of the focal part.
        smooth: Smoothing term of the Dice part.
        normalize_weights: Whether to scale the weights to sum to the number of classes.
        from_logits: Whether the predictions are logits rather than probabilities.
        name: Name of the loss.
        reduction: Reduction mode of Keras. The loss is already one number per batch.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        focal_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        weigh_focal: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        smooth: float = 1e-5,
        normalize_weights: bool = True,
        from_logits: bool = False,
        name: str = "dice_focal",
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__(class_weights, normalize_weights, from_logits, name, reduction)
        self.dice_weight = dice_weight
        self.focal_weight = focal_weight
        self.weigh_focal = weigh_focal
        shared: dict[str, Any] = dict(normalize_weights=normalize_weights, from_logits=from_logits)
        self._dice = DiceLoss(class_weights, smooth, **shared)
        self._focal = CategoricalFocalLoss(
            alpha, gamma, class_weights if weigh_focal else None, **shared
        )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar."""
        dice, focal = self._dice.call(y_true, y_pred), self._focal.call(y_true, y_pred)
        return self.dice_weight * dice + self.focal_weight * focal

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {
            **super().get_config(),
            "dice_weight": self.dice_weight,
            "focal_weight": self.focal_weight,
            "weigh_focal": self.weigh_focal,
            "alpha": self._focal.alpha,
            "gamma": self._focal.gamma,
            "smooth": self._dice.smooth,
        }


@keras.saving.register_keras_serializable(package="tfcompress")
class MacroF1Loss(_ClassWeighted):
    """`1 - mean_c F1_c` with soft counts over the batch: a differentiable form of macro F1.

    With probabilities p and labels y, `TP = sum(y p)`, `FP = sum((1 - y) p)`, `FN = sum(y (1 -
    p))`, `P = TP / (TP + FP + e)`, `R = TP / (TP + FN + e)`, `F1 = 2 P R / (P + R + e)`, clamped to
    `[e, 1 - e]`. A class that is missing in a batch has F1 = 0, so use batches that hold most
    classes.

    Reference: a loss common in PyTorch competitions, in the form that the trash-classification
    project uses.

    Args:
        epsilon: Small number e that avoids division by 0.
        class_weights: One weight per class, in channel order; None weighs all classes equally.
        normalize_weights: Whether to scale the weights to sum to the number of classes.
        from_logits: Whether the predictions are logits rather than probabilities.
        name: Name of the loss.
        reduction: Reduction mode of Keras. The loss is already one number per batch.
    """

    def __init__(
        self,
        epsilon: float = 1e-7,
        class_weights: Sequence[float] | None = None,
        normalize_weights: bool = True,
        from_logits: bool = False,
        name: str = "macro_f1_loss",
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__(class_weights, normalize_weights, from_logits, name, reduction)
        self.epsilon = epsilon

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar."""
        y_true, y_pred = self._inputs(y_true, y_pred)
        axes = tuple(range(len(y_pred.shape) - 1))
        hits = ops.sum(y_true * y_pred, axis=axes)
        precision = hits / (ops.sum(y_pred, axis=axes) + self.epsilon)
        recall = hits / (ops.sum(y_true, axis=axes) + self.epsilon)
        f1 = 2 * precision * recall / (precision + recall + self.epsilon)
        f1 = ops.clip(f1, self.epsilon, 1 - self.epsilon)
        return 1 - ops.mean(self._weigh(f1))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="tfcompress")
class F1CrossEntropyLoss(_ClassWeighted):
    """`(1 - ce_share) MacroF1Loss + ce_share * cross entropy`; only the latter smooths labels.

    Args:
        ce_share: Weight of the cross entropy, from 0 to 1.
        label_smoothing: Share of each label that is spread over all classes, from 0 to 1.
        class_weights: One weight per class, for both parts; None weighs all classes equally.
        normalize_weights: Whether to scale the weights to sum to the number of classes.
        from_logits: Whether the predictions are logits rather than probabilities.
        name: Name of the loss.
        reduction: Reduction mode of Keras. The loss is already one number per batch.

    Raises:
        ConfigError: `ce_share` or `label_smoothing` is not between 0 and 1.
    """

    def __init__(
        self,
        ce_share: float = 0.5,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        normalize_weights: bool = True,
        from_logits: bool = False,
        name: str = "f1_cross_entropy",
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__(class_weights, normalize_weights, from_logits, name, reduction)
        for what, share in (("ce_share", ce_share), ("label_smoothing", label_smoothing)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} {what}", f"it is {share}", "use a number from 0 to 1")
        self.ce_share, self.label_smoothing = ce_share, label_smoothing
        self._f1 = MacroF1Loss(
            class_weights=class_weights,
            normalize_weights=normalize_weights,
            from_logits=from_logits,
        )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, a scalar."""
        f1 = self._f1.call(y_true, y_pred) if self.ce_share < 1 else 0.0
        logits = y_pred if self.from_logits else None
        y_true, y_pred = self._inputs(y_true, y_pred)
        classes = y_pred.shape[-1]
        y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / classes
        if logits is not None:
            log_p = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        else:
            epsilon = keras.config.epsilon()
            log_p = ops.log(ops.clip(y_pred, epsilon, 1 - epsilon))
        cross_entropy = -ops.mean(ops.sum(self._weigh(y_true * log_p), axis=-1))
        return (1 - self.ce_share) * f1 + self.ce_share * cross_entropy

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        more = {"ce_share": self.ce_share, "label_smoothing": self.label_smoothing}
        return {**super().get_config(), **more}
