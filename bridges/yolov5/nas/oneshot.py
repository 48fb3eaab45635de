"""One-shot architecture search: one supernet, trained once, by a strategy of NNI's.

found = search_oneshot(space, proxy, OneShotSettings("darts", epochs=10), folder)
detector = found.architecture.detector(names)         # new weights
backbone = found.backbone()                           # the supernet's weights inherited
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytorch_lightning as lightning
    from nni.nas.evaluator.pytorch.lightning import Lightning, LightningModule, Trainer
    from nni.nas.execution import SequentialExecutionEngine
    from nni.nas.nn.pytorch import LayerChoice, ModelSpace
    from nni.nas.space import RawFormatModelSpace

from bridges.yolov5.nas.architecture import FoundArchitecture
from bridges.yolov5.nas.inherit import inherit
from bridges.yolov5.nas.oneshot_strategies import (
    STRATEGIES,
    Darts,
    Enas,
    GumbelDarts,
    MacsPenalty,
    Proxyless,
    RandomOneShot,
    most_probable,
)
from bridges.yolov5.nas.proxies import Proxy
from bridges.yolov5.nas.space_cost import SpaceCost, measure_space
from models.yolov5.architecture_file import Architecture
from models.yolov5.search_space import Options, as_space, frozen_pick, plain_choices
from tfcompress.errors import ConfigError

CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class OneShotSettings:
    """Training settings of a supernet.

    Attributes:
        strategy: "darts", "gumbel", "proxyless", "enas" or "random".
        epochs: Number of training epochs.
        optimizer: Optimizer of the weights: "adamw" or "sgd" (with momentum), with a cosine
            schedule.
        learning_rate: Learning rate of the weights.
        choice_rate: Learning rate of the architecture parameters or the controller; 0: the
            strategy's default.
        macs_weight: Penalty for twice the plain network's MACs; 0 for none.
        macs_budget: Fraction of the plain network's MACs below which saving more brings nothing; 0:
            every saving counts.
        warmup_epochs: Number of first epochs in which only the weights are trained.
        seed: Seed of the weights and of all sampling.
    """

    strategy: str = "darts"
    epochs: int = 10
    optimizer: str = "adamw"
    learning_rate: float = 0.002
    choice_rate: float = 0.0
    macs_weight: float = 1.0
    macs_budget: float = 1.0
    warmup_epochs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ConfigError(
                "strategy", f"{self.strategy!r} is unknown", f"use {', '.join(STRATEGIES)}"
            )
        if self.epochs < 1 or not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError(
                "epochs",
                f"{self.epochs} with {self.warmup_epochs} of warm-up leave none for the choices",
                "give more epochs, or a shorter warm-up",
            )
        if self.optimizer not in ("sgd", "adamw"):
            raise ConfigError("optimizer", f"{self.optimizer!r} is unknown", "use sgd or adamw")
        for name in ("macs_weight", "macs_budget"):
            if getattr(self, name) < 0:
                raise ConfigError(name, f"it is {getattr(self, name)}", "give 0 or more")


@dataclass(frozen=True)
class OneShotResult:
    """What a one-shot search found.

    Attributes:
        architecture: The exported choices.
        probabilities: Probability of each option, by choice.
        history: One row per epoch: loss, reward, expected MACs.
        macs: MACs of the exported architecture on the proxy's images.
        plain_macs: MACs of the plain network.
        supernet: The trained supernet.
    """

    architecture: FoundArchitecture
    probabilities: Mapping[str, Mapping[str, float]]
    history: tuple[dict[str, float], ...]
    macs: int
    plain_macs: int
    supernet: nn.Module

    def network(self, build: Callable[..., nn.Module]) -> nn.Module:
        """The found network with the supernet's weights, built by the proxy's `build`."""
        frozen = build(frozen_pick(self.architecture.choices))
        inherit(self.supernet, frozen, self.architecture.choices)
        return frozen


class Space(ModelSpace):
    """A network with NNI's choices in it."""

    def __init__(self, build: Callable[[Callable[[str, Options], nn.Module]], nn.Module]) -> None:
        super().__init__()
        self.network = build(side_by_side)

    def forward(self, x: torch.Tensor) -> Any:
        """What the network gives."""
        return self.network(x)


def side_by_side(label: str, options: Options) -> nn.Module:
    """All options of a choice as NNI's LayerChoice."""
    return LayerChoice({name: make() for name, make in options.items()}, label=label)


def search_oneshot(
    space: str | Path | Architecture,
    proxy: Proxy,
    settings: OneShotSettings,
    folder: str | Path,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> OneShotResult:
    """Train a supernet and export an architecture; an interrupted search in `folder` goes on.

    Args:
        space: An architecture, its own choices or made searchable.
        proxy: What the networks are trained and rewarded on.
        settings: Search settings.
        folder: Folder for the checkpoint of every epoch.
        on_epoch: Function called with each row of the history.

    Raises:
        ConfigError: The settings do not fit.
        ArchitectureError: The space is wrong.
    """
    architecture = as_space(space)
    quiet_nni()
    lightning.seed_everything(settings.seed, verbose=False)
    build = proxy.builder(architecture)
    cost = measure_space(build, proxy.shape)
    plain_macs = cost.of(plain_choices(architecture))
    penalty = None
    if settings.macs_weight:
        penalty = MacsPenalty(cost, plain_macs, settings.macs_weight, settings.macs_budget)
    supernet = Space(build)
    module = ProxyModule(proxy, settings)
    train, val = proxy.batches(settings.seed)
    checkpoint = Path(folder) / CHECKPOINT
    watcher = _Watcher(cost, on_epoch)
    trainer = Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[
            watcher,
            lightning.callbacks.ModelCheckpoint(
                dirpath=folder, filename="epoch", save_last=True, save_top_k=1
            ),
        ],
    )
    fit = {"ckpt_path": str(checkpoint), "weights_only": True} if checkpoint.is_file() else {}
    strategy = _strategy(settings, cost, penalty)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = Lightning(module, trainer, train, val, fit_kwargs=fit)
        strategy(RawFormatModelSpace(supernet, evaluator), SequentialExecutionEngine())
    searcher = strategy.oneshot_module
    with torch.no_grad():
        choices = {str(label): str(option) for label, option in searcher.export().items()}
    probabilities = {
        str(label): dict(zip(cost.options[label], values, strict=True))
        for label, values in searcher.probabilities().items()
    }
    details = {"strategy": settings.strategy, "seed": settings.seed, "epochs": settings.epochs}
    return OneShotResult(
        architecture=FoundArchitecture(architecture, choices, details),
        probabilities=probabilities,
        history=tuple(watcher.rows),
        macs=cost.of(choices),
        plain_macs=plain_macs,
        supernet=supernet.network,
    )


class ProxyModule(LightningModule):
    """What NNI's strategies train: the loss and the reward of a proxy."""

    def __init__(self, proxy: Proxy, settings: OneShotSettings) -> None:
        super().__init__()
        object.__setattr__(self, "proxy", proxy)
        self.settings = settings

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        loss = self.proxy.loss(self.model, batch)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def reward(self, batch: Any) -> float:
        """How good the present architecture is on a validation batch, higher is better."""
        with torch.no_grad():
            return self.proxy.reward(self.model, batch)

    def configure_optimizers(self) -> Any:
        """Of the weights (NNI takes its architecture parameters out), and a cosine."""
        weights, rate = self.parameters(), self.settings.learning_rate
        optimizer: torch.optim.Optimizer
        if self.settings.optimizer == "adamw":
            optimizer = torch.optim.AdamW(weights, rate, weight_decay=0.01)
        else:
            optimizer = torch.optim.SGD(weights, rate, momentum=0.9, weight_decay=3e-4)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.epochs)
        return [optimizer], [cosine]


class _Watcher(lightning.Callback):
    """A row for each epoch; part of the checkpoint."""

    def __init__(self, cost: SpaceCost, on_epoch: Callable[[dict[str, float]], None]) -> None:
        self.cost, self.on_epoch = cost, on_epoch
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Note the epoch."""
        row = {"epoch": trainer.current_epoch + 1}
        for name in ("loss", "reward"):
            if name in trainer.callback_metrics:
                row[name] = float(trainer.callback_metrics[name])
        given = {label: torch.tensor(p) for label, p in module.probabilities().items()}
        row["expected_macs"] = float(self.cost.expected(given))
        row["likeliest_macs"] = float(self.cost.expected(most_probable(given)))
        row["certainty"] = sum(float(p.max()) for p in given.values()) / len(given)
        self.rows.append(row)
        self.on_epoch(row)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows = list(state["rows"])


def _strategy(settings: OneShotSettings, cost: SpaceCost, penalty: MacsPenalty | None) -> Any:
    warm = settings.warmup_epochs
    if settings.strategy == "enas":
        rate = settings.choice_rate or 5e-3
        return Enas(cost.options, penalty, learning_rate=rate, warmup_epochs=warm)
    if settings.strategy == "random":
        return RandomOneShot(cost.options, penalty)
    kinds = {"darts": Darts, "gumbel": GumbelDarts, "proxyless": Proxyless}
    return kinds[settings.strategy](
        penalty=penalty,
        arc_learning_rate=settings.choice_rate or 3e-2,
        gradient_clip_val=5.0,
        warmup_epochs=warm,
    )


def quiet_nni() -> None:
    """NNI and Lightning say what they do at every step; their warnings here are known."""
    for name in ("nni", "pytorch_lightning", "lightning.pytorch", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
