"""Training of a detector: warm-up, cosine schedule, averaged weights, checkpoints, best on mAP.

result = train_detector(detector, data, TrainSettings(epochs=80), checkpoint="last.pt")
save_detector("model.pt", result.detector, side=320)
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.batches import TrainingImages, training_loader
from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.detector.anchors import AnchorCheck, check_anchors
from bridges.yolov5.detector.evaluate import evaluate_detector
from bridges.yolov5.detector.extra_loss import ExtraLoss
from bridges.yolov5.detector.loss import DetectionLoss, LossWeights
from models.yolov5.build import Detector
from tfcompress.atomic import atomic_path
from tfcompress.errors import CompressionError, ConfigError

LARGEST_GRADIENT = 10.0


@dataclass(frozen=True)
class TrainSettings:
    """Training settings of a detector.

    Attributes:
        epochs: Number of training epochs.
        side: Side of the square images in pixels, a multiple of 32.
        batch: Number of images per step.
        optimizer: "sgd" (Nesterov) or "adamw", which learns a small set in fewer epochs.
        learning_rate: Peak learning rate; for SGD about 0.01.
        final_rate: Final learning rate as a fraction of the peak (cosine schedule).
        momentum: SGD momentum, or AdamW's beta1.
        weight_decay: Weight decay of convolution weights only; for SGD about 0.0005.
        warmup_epochs: Number of epochs in which the learning rate grows from zero.
        plain_epochs: Number of final epochs without mosaic augmentation.
        ema_decay, ema_steps: Decay factor of the weight average: at each step it keeps
            `ema_decay * (1 - exp(-step / ema_steps))` of itself and takes the rest from the
            current weights.
        seed: Seed of the image order and the augmentation; the detector is already initialized.
        workers: Number of processes that read images.
        device: Device: "auto", "cpu", "cuda", ...
        fit_anchors: Whether to replace anchors that do not fit the boxes.
        validate_every: Number of epochs between evaluations; each of the last epochs is evaluated.
        augmentation: Augmentation of the training images.
        loss: Weights of the loss's parts.
    """

    epochs: int = 80
    side: int = 320
    batch: int = 8
    optimizer: str = "adamw"
    learning_rate: float = 0.002
    final_rate: float = 0.05
    momentum: float = 0.937
    weight_decay: float = 0.01
    warmup_epochs: float = 3.0
    plain_epochs: int = 5
    ema_decay: float = 0.9999
    ema_steps: float = 2000.0
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    fit_anchors: bool = True
    validate_every: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"it is {getattr(self, name)}", "give 1 or more")
        if self.side < 32 or self.side % 32:
            raise ConfigError("side", f"it is {self.side}", "give a multiple of 32, such as 320")
        if self.optimizer not in ("sgd", "adamw"):
            raise ConfigError("optimizer", f"{self.optimizer!r} is unknown", "use sgd or adamw")
        if not self.learning_rate > 0:
            raise ConfigError("learning_rate", f"it is {self.learning_rate}", "give more than 0")


@dataclass(frozen=True)
class TrainResult:
    """A trained detector.

    Attributes:
        detector: The detector with the averaged weights of the best epoch, in evaluation mode.
        history: One row per epoch.
        best_epoch: Best epoch, counted from 1.
        best_map: Validation mAP50-95 of that epoch.
        anchors: Result of the anchor check.
    """

    detector: Detector
    history: tuple[dict[str, float], ...]
    best_epoch: int
    best_map: float
    anchors: AnchorCheck | None


def train_detector(
    detector: Detector,
    data: DetectionData,
    settings: TrainSettings,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[dict[str, float], bool], None] = lambda row, best: None,
    extra_losses: Sequence[ExtraLoss] = (),
) -> TrainResult:
    """Train a copy; the given detector is not changed.

    Args:
        detector: Detector to start from.
        data: Data set, of which "train" and "val" are used, never "test".
        settings: Training settings.
        checkpoint: File written after every epoch; training resumes from an existing one.
        on_epoch: Function called with each row and whether it is the best so far; it may raise to
            stop.
        extra_losses: Terms added to the loss; their parameters are trained in place and saved in
            the checkpoint.

    Raises:
        ConfigError: Data and detector have different classes, or the checkpoint belongs to other
            settings or extra losses.
        CompressionError: The loss is no longer a number.
    """
    if len(data.names) != detector.n_classes:
        raise ConfigError(
            "detector",
            f"it has {detector.n_classes} classes, the data {len(data.names)} "
            f"({', '.join(data.names)})",
            "build it with names=data.names",
        )
    device = pick_device(settings.device)
    detector = copy.deepcopy(detector).to(device)
    anchors = _fitted_anchors(detector, data, settings) if settings.fit_anchors else None
    state = _State(detector, settings, device, extra_losses)
    if checkpoint is not None and Path(checkpoint).is_file():
        state.load(Path(checkpoint))
    images = TrainingImages(
        data.splits["train"], settings.side, settings.augmentation, settings.seed
    )
    loss = DetectionLoss(
        detector.head.anchors, detector.n_classes, settings.side, settings.loss
    ).to(device)
    while state.epoch < settings.epochs:
        start = time.monotonic()
        images.epoch = state.epoch
        plain = state.epoch >= settings.epochs - settings.plain_epochs
        images.augmentation = (
            replace(settings.augmentation, mosaic=0.0) if plain else settings.augmentation
        )
        row = _one_epoch(state, images, loss, settings, device)
        state.epoch += 1
        left = settings.epochs - state.epoch
        best = False
        if state.epoch % settings.validate_every == 0 or left < max(settings.plain_epochs, 1):
            averaged = state.averaged.module.eval()
            score = evaluate_detector(
                lambda x, model=averaged: model.decode(model(x)),
                data.splits["val"],
                data.names,
                settings.side,
                settings.batch,
                device=device,
            )
            row |= {"val_map50": score.map50, "val_map": score.map}
            best = state.keep_best(score.map)
        row = {"epoch": state.epoch, **row, "seconds": time.monotonic() - start}
        state.history.append(row)
        if checkpoint is not None:
            state.save(Path(checkpoint))
        on_epoch(row, best)
    trained = copy.deepcopy(state.detector)
    trained.load_state_dict(state.best)
    return TrainResult(
        trained.to("cpu").eval(), tuple(state.history), state.best_epoch, state.best_map, anchors
    )


def pick_device(name: str) -> torch.device:
    """A device by name; "auto" is a GPU where there is one.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("device", f"{name!r}: {reason}", "use auto or cpu") from None
    return device


class _State:
    """The state of a training, as saved in a checkpoint."""

    def __init__(
        self,
        detector: Detector,
        settings: TrainSettings,
        device: torch.device,
        extra_losses: Sequence[ExtraLoss],
    ) -> None:
        self.detector = detector
        self.settings = settings
        self.extra_losses = extra_losses
        self.adapters = nn.ModuleList(extra.module for extra in extra_losses).to(device)
        self.optimizer = make_optimizer(nn.ModuleList((detector, self.adapters)), settings)
        self.averaged = AveragedModel(detector, device, avg_fn=_average(settings), use_buffers=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_map = -1.0
        self.best_epoch = 0

    def keep_best(self, value: float) -> bool:
        """Remember the averaged weights if they are the best so far."""
        if value <= self.best_map:
            return False
        self.best_map, self.best_epoch = value, self.epoch
        own = self.averaged.module.state_dict()
        self.best = {key: tensor.detach().cpu().clone() for key, tensor in own.items()}
        return True

    def save(self, path: Path) -> None:
        """Write the checkpoint: tensors and plain values only."""
        with atomic_path(path) as temporary:
            torch.save(
                {
                    "settings": self._fingerprint(),
                    "epoch": self.epoch,
                    "history": self.history,
                    "best": self.best,
                    "best_map": self.best_map,
                    "best_epoch": self.best_epoch,
                    "detector": self.detector.state_dict(),
                    "averaged": self.averaged.state_dict(),
                    "adapters": self.adapters.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                },
                temporary,
            )

    def load(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            ConfigError: It was made with other settings.
        """
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["settings"] != self._fingerprint():
            raise ConfigError(
                str(path), "it was written with other settings", "use them again, or delete it"
            )
        self.detector.load_state_dict(saved["detector"])
        self.averaged.load_state_dict(saved["averaged"])
        self.adapters.load_state_dict(saved.get("adapters", {}))
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.epoch, self.history = saved["epoch"], saved["history"]
        self.best, self.best_map = saved["best"], saved["best_map"]
        self.best_epoch = saved["best_epoch"]

    def _fingerprint(self) -> dict[str, Any]:
        """What must be equal for training to resume from a checkpoint."""
        fields = asdict(self.settings)
        kept = {name: fields[name] for name in fields if name not in ("workers", "device")}
        extra = [dict(extra.described) for extra in self.extra_losses]
        return kept | ({"extra_losses": extra} if extra else {})


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """SGD or AdamW; biases and normalisation layers are not decayed."""
    decayed, free = [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
            (free if name == "bias" or norm else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=(settings.momentum, 0.999)
        )
    return torch.optim.SGD(
        groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=True
    )


def learning_rate_at(progress: float, settings: TrainSettings) -> float:
    """The rate after `progress` epochs: linear warm-up, then half a cosine.

    Reference:
        Loshchilov and Hutter, SGDR, 2016, arXiv:1608.03983, equation 5.
    """
    warm = min(progress / settings.warmup_epochs, 1.0) if settings.warmup_epochs > 0 else 1.0
    cosine = (1 + math.cos(math.pi * min(progress / settings.epochs, 1.0))) / 2
    left = settings.final_rate + (1 - settings.final_rate) * cosine
    return settings.learning_rate * warm * left


def _one_epoch(
    state: _State,
    images: TrainingImages,
    loss: DetectionLoss,
    settings: TrainSettings,
    device: torch.device,
) -> dict[str, float]:
    """Train on every image once; the means of the loss's parts."""
    state.detector.train()
    trained = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    loader = training_loader(images, settings.batch, settings.workers)
    sums: dict[str, float] = {}
    for index, (pixels, targets) in enumerate(loader):
        rate = learning_rate_at(state.epoch + (index + 1) / len(loader), settings)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        pixels, targets = pixels.to(device), targets.to(device)
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            outputs = state.detector.outputs(pixels)
            raw = outputs[len(state.detector.model) - 1]
            total, parts = loss([level.float() for level in raw], targets)
            for extra in state.extra_losses:
                added, more = extra(state.detector, pixels, outputs, targets)
                total = total + added * len(pixels)
                parts |= more
        if not torch.isfinite(total):
            raise CompressionError(
                f"training, epoch {state.epoch + 1}",
                "the loss is no longer a number",
                f"lower the learning rate ({settings.learning_rate}) or lengthen the warm-up",
            )
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(total).backward()
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.averaged.update_parameters(state.detector)
        for name, value in {"loss": sum(parts.values()), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / len(loader) for name, value in sums.items()}


def _average(settings: TrainSettings) -> Callable[..., torch.Tensor]:
    """Update the averaged weights: quickly at first, then slowly."""

    def follow(
        averaged: torch.Tensor, current: torch.Tensor, step: torch.Tensor | int
    ) -> torch.Tensor:
        if not averaged.is_floating_point():
            return current
        keep = settings.ema_decay * (1 - math.exp(-(float(step) + 1) / settings.ema_steps))
        return averaged * keep + current * (1 - keep)

    return follow


def _fitted_anchors(
    detector: Detector, data: DetectionData, settings: TrainSettings
) -> AnchorCheck:
    """Check the anchors against the training boxes, and replace them in the detector if needed."""
    head = detector.head
    pixels = (head.anchors * head.stride.view(-1, 1, 1).to(head.anchors)).cpu().numpy()
    check = check_anchors(
        pixels, data.splits["train"], settings.side, settings.loss.ratio, settings.seed
    )
    if check.replaced:
        cells = torch.from_numpy(np.asarray(check.anchors, np.float32)).to(head.anchors)
        head.anchors.copy_(cells / head.stride.view(-1, 1, 1).to(cells))
    return check
