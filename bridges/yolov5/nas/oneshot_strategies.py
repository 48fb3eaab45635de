"""NNI's one-shot strategies, in thin subclasses that fix defects of NNI 3.0.

- The MACs penalty: NNI turns the probabilities into plain numbers before it takes their
  expectation, so its penalty has no gradient and changes nothing. Ours is differentiable.
- ENAS: NNI's needs two unmaintained packages, unpacks its batches as an older Lightning gave them,
  and exports a sample of a new, untrained controller. Ours is a small controller (`controller.py`)
  on NNI's sampling modules, and exports what it samples most.
- ProxylessNAS exports a sample; ours exports the most probable options.
- Random one-shot exports anything; ours measures sampled architectures with the shared weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tfcompress.internals import nni as nni_names

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import nni.nas.strategy as nni_strategy

    BaseOneShotLightningModule = nni_names.ONE_SHOT_MODULE.get()
    DartsLightningModule = nni_names.DARTS_MODULE.get()
    GumbelDartsLightningModule = nni_names.GUMBEL_MODULE.get()
    LinearTemperatureScheduler = nni_names.TEMPERATURE.get()

from bridges.yolov5.nas.controller import Controller, Written
from bridges.yolov5.nas.space_cost import SpaceCost

STRATEGIES = ("darts", "gumbel", "proxyless", "enas", "random")


class MacsPenalty:
    """Penalty `weight * (macs / baseline - 1)`, added to the loss or subtracted from the reward.

    Fewer MACs than the baseline are a bonus, down to the budget.

    Args:
        cost: MACs of the space.
        baseline: MACs with neither penalty nor bonus: the plain network's.
        weight: Penalty at twice the baseline.
        budget: Fraction of the baseline below which fewer MACs bring no more bonus.
    """

    def __init__(
        self, cost: SpaceCost, baseline: float, weight: float, budget: float = 0.0
    ) -> None:
        self.cost, self.baseline, self.weight, self.budget = cost, baseline, weight, budget

    def expected(self, probabilities: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Penalty of a distribution over architectures; differentiable above the budget."""
        share = self.cost.expected(probabilities) / self.baseline
        return self.weight * (share.clamp(min=self.budget) - 1)

    def of(self, choices: Mapping[str, str]) -> float:
        """Penalty of one architecture."""
        return self.weight * (max(self.cost.of(choices) / self.baseline, self.budget) - 1)


def alphas(module: nn.Module) -> dict[str, nn.Parameter]:
    """The architecture parameters of a differentiable supernet, by choice."""
    return {
        part.label: nni_names.ALPHA.of(part)
        for part in module.modules()
        if nni_names.ALPHA.on(part)
    }


def option_probabilities(module: nn.Module) -> dict[str, torch.Tensor]:
    """Softmax of the architecture parameters, without the noise of Gumbel-softmax."""
    return {label: alpha.softmax(-1) for label, alpha in alphas(module).items()}


def most_probable(probabilities: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Ones for the most probable options and zeros, with the gradient of the probabilities.

    A mixture's expected MACs include expensive options that will not be exported: kept within a
    budget, it exports an architecture far below it. Therefore the penalty is on what would be
    exported.

    Reference:
        Bengio, Leonard, Courville, Estimating or Propagating Gradients Through Stochastic Neurons,
        2013, arXiv:1308.3432 (the straight-through estimator).
    """
    return {
        label: functional.one_hot(p.argmax(), len(p)) + (p - p.detach())
        for label, p in probabilities.items()
    }


def set_choices(module: nn.Module, choices: Mapping[str, str]) -> None:
    """Make a sampling supernet run exactly these choices."""
    for part in module.modules():
        if nni_names.SAMPLED.on(part):
            part.resample(memo=dict(choices))


class _Patched:
    """Fixes for NNI's differentiable modules, as a base class in front of them."""

    def __init__(self, *args: Any, macs_penalty: MacsPenalty | None, **more: Any) -> None:
        super().__init__(*args, **more)
        if macs_penalty is not None:
            self.penalty = self._penalized
        object.__setattr__(self, "macs_penalty", macs_penalty)

    def _penalized(
        self, loss: torch.Tensor, _: Mapping[str, Any]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """NNI calls it with probabilities that have no gradient; the live ones are taken."""
        added = self.macs_penalty.expected(most_probable(option_probabilities(self)))
        return loss + added, {"macs": added.detach()}

    def export(self) -> dict[str, str]:
        """The most probable option of every choice."""
        options = {part.label: part.names for part in self.modules() if nni_names.ALPHA.on(part)}
        return {label: options[label][int(alpha.argmax())] for label, alpha in alphas(self).items()}

    def probabilities(self) -> dict[str, tuple[float, ...]]:
        """Of each choice's options."""
        return {
            label: tuple(values.detach().tolist())
            for label, values in option_probabilities(self).items()
        }


class PatchedDarts(_Patched, DartsLightningModule):
    """Also ProxylessNAS', whose difference is in its layers."""


class PatchedGumbel(_Patched, GumbelDartsLightningModule):
    """DARTS with a falling temperature."""


class Darts(nni_strategy.DARTS):
    """DARTS, first order (Liu et al., 2018, arXiv:1806.09055).

    Args:
        penalty: Penalty added to the loss of the architecture step.
        **more: NNI's own: arc_learning_rate, warmup_epochs, gradient_clip_val.
    """

    def __init__(self, penalty: MacsPenalty | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.macs_penalty = penalty

    def configure_oneshot_module(self, training_module: Any) -> PatchedDarts:
        """The module that trains both."""
        return PatchedDarts(
            training_module=training_module,
            arc_learning_rate=self.arc_learning_rate,
            gradient_clip_val=self.gradient_clip_val,
            warmup_epochs=self.warmup_epochs,
            macs_penalty=self.macs_penalty,
        )


class Proxyless(Darts, nni_strategy.Proxyless):
    """ProxylessNAS (Cai et al., 2018, arXiv:1812.00332): one path at a time."""


class GumbelDarts(nni_strategy.GumbelDARTS):
    """DARTS with Gumbel-softmax (Xie et al., 2018, arXiv:1812.09926); arguments as of `Darts`."""

    def __init__(self, penalty: MacsPenalty | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.macs_penalty = penalty

    def configure_oneshot_module(self, training_module: Any) -> PatchedGumbel:
        """The module that trains both."""
        return PatchedGumbel(
            training_module=training_module,
            temperature_scheduler=LinearTemperatureScheduler(*self.temperature),
            arc_learning_rate=self.arc_learning_rate,
            gradient_clip_val=self.gradient_clip_val,
            warmup_epochs=self.warmup_epochs,
            macs_penalty=self.macs_penalty,
        )


class TaggedBatches:
    """Training batches, then validation batches, each with its kind."""

    def __init__(self, train: Any, val: Any) -> None:
        self.train, self.val = train, val

    def __len__(self) -> int:
        return len(self.train) + len(self.val)

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        for batch in self.train:
            yield batch, "train"
        for batch in self.val:
            yield batch, "val"


class EnasModule(BaseOneShotLightningModule):
    """Weights trained on sampled architectures, and the controller on their rewards, in turn."""

    def __init__(
        self,
        training_module: Any,
        controller: Controller,
        penalty: MacsPenalty | None,
        learning_rate: float,
        entropy_weight: float,
        rewards_per_update: int,
        warmup_epochs: int,
    ) -> None:
        super().__init__(training_module)
        self.controller = controller
        object.__setattr__(self, "macs_penalty", penalty)
        self.learning_rate = learning_rate
        self.entropy_weight = entropy_weight
        self.rewards_per_update = rewards_per_update
        self.warmup_epochs = warmup_epochs
        self._losses: list[torch.Tensor] = []

    def configure_architecture_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the controller."""
        return torch.optim.Adam(self.controller.parameters(), self.learning_rate)

    def resample(self) -> dict[str, str]:
        """Run the network of a sampled architecture from now on."""
        return self._run(self.controller.write()).choices

    def _run(self, written: Written) -> Written:
        set_choices(self, written.choices)
        return written

    def training_step(self, tagged: tuple[Any, str], batch_idx: int) -> Any:
        """A step of the weights on a training batch, a reward on a validation batch."""
        batch, kind = tagged
        if kind == "train":
            with torch.no_grad():
                self.resample()
            output = self.training_module.training_step(batch, batch_idx)
            loss = output["loss"] if isinstance(output, dict) else output
            self.advance_optimization(loss, batch_idx)
            self.advance_lr_schedulers(batch_idx)
            return output
        if self.trainer.current_epoch < self.warmup_epochs:
            return None
        written = self._run(self.controller.write())
        reward = self.training_module.reward(batch)
        if self.macs_penalty is not None:
            reward -= self.macs_penalty.of(written.choices)
        self._losses.append(self.controller.loss(written, reward, self.entropy_weight))
        self.log("reward", reward, on_step=False, on_epoch=True, batch_size=1)
        if len(self._losses) == self.rewards_per_update:
            optimizer = self.architecture_optimizers()
            optimizer.zero_grad()
            self.manual_backward(torch.stack(self._losses).mean())
            optimizer.step()
            self._losses = []
        return None

    def on_train_epoch_end(self) -> Any:
        """Rewards that wait for an update do not outlive their epoch, so that a resume is exact."""
        self._losses = []
        return super().on_train_epoch_end()

    def export(self) -> dict[str, str]:
        """The most probable option at every step of the trained controller."""
        with torch.no_grad():
            return self.controller.write(most_probable=True).choices

    def probabilities(self) -> dict[str, tuple[float, ...]]:
        """Along the exported architecture."""
        with torch.no_grad():
            return self.controller.write(most_probable=True).probabilities


class Enas(nni_strategy.RandomOneShot):
    """ENAS with the controller of `controller.py`.

    Args:
        options: Every choice and its options.
        penalty: Penalty subtracted from the rewards.
        learning_rate: Learning rate of the controller.
        entropy_weight: Weight of the entropy in the controller's loss; it prevents early
            convergence.
        rewards_per_update: Number of rewards per step of the controller.
        warmup_epochs: Number of first epochs in which only the weights are trained.
    """

    def __init__(
        self,
        options: Mapping[str, tuple[str, ...]],
        penalty: MacsPenalty | None = None,
        learning_rate: float = 5e-3,
        entropy_weight: float = 1e-4,
        rewards_per_update: int = 4,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.arguments = (penalty, learning_rate, entropy_weight, rewards_per_update, warmup_epochs)
        self.options = options

    def configure_oneshot_module(self, training_module: Any) -> EnasModule:
        """The module that trains both."""
        return EnasModule(training_module, Controller(self.options), *self.arguments)

    def train_dataloader(self, train: Callable[[], Any], val: Callable[[], Any]) -> TaggedBatches:
        """Both sets in turn."""
        return TaggedBatches(train(), val())

    def val_dataloader(self, train: Callable[[], Any], val: Callable[[], Any]) -> None:
        """The controller's rewards are the validation."""
        return None


class RandomModule(BaseOneShotLightningModule):
    """Weights trained on architectures drawn evenly; the export is the best of some, measured."""

    def __init__(
        self,
        training_module: Any,
        options: Mapping[str, tuple[str, ...]],
        penalty: MacsPenalty | None,
        candidates: int,
        val: Any,
    ) -> None:
        super().__init__(training_module)
        object.__setattr__(self, "macs_penalty", penalty)
        object.__setattr__(self, "val", val)
        self.options, self.candidates = options, candidates

    def resample(self) -> dict[str, str]:
        """Run the network of an architecture drawn evenly from now on."""
        choices = {
            label: names[int(torch.randint(len(names), ()))]
            for label, names in self.options.items()
        }
        set_choices(self, choices)
        return choices

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """A step of the weights."""
        self.resample()
        output = self.training_module.training_step(batch, batch_idx)
        self.advance_optimization(output["loss"] if isinstance(output, dict) else output, batch_idx)
        self.advance_lr_schedulers(batch_idx)
        return output

    def export(self) -> dict[str, str]:
        """The best of `candidates` drawn architectures, by their reward with the shared weights."""
        best: tuple[float, dict[str, str]] | None = None
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same ones, also after a search was taken up again
            drawn = [self.resample() for _ in range(self.candidates)]
        for choices in drawn:
            set_choices(self, choices)
            rewards = [self.training_module.reward(batch) for batch in self.val]
            value = sum(rewards) / len(rewards)
            value -= self.macs_penalty.of(choices) if self.macs_penalty else 0.0
            if best is None or value > best[0]:
                best = value, choices
        return best[1]

    def probabilities(self) -> dict[str, tuple[float, ...]]:
        """Even."""
        return {
            label: tuple(1 / len(names) for _ in names) for label, names in self.options.items()
        }


class RandomOneShot(nni_strategy.RandomOneShot):
    """Single path one-shot with even sampling (Guo et al., 2019, arXiv:1904.00420)."""

    def __init__(
        self,
        options: Mapping[str, tuple[str, ...]],
        penalty: MacsPenalty | None = None,
        candidates: int = 16,
    ) -> None:
        super().__init__()
        self.options, self.penalty, self.candidates = options, penalty, candidates
        self._val: Any = None

    def configure_oneshot_module(self, training_module: Any) -> RandomModule:
        """The module that trains, and measures at the end."""
        return RandomModule(training_module, self.options, self.penalty, self.candidates, self._val)

    def mutate_evaluator(self, evaluator: Any) -> Any:
        """Keep the validation batches for the export."""
        self._val = evaluator.val_dataloaders
        return super().mutate_evaluator(evaluator)

    def val_dataloader(self, train: Callable[[], Any], val: Callable[[], Any]) -> None:
        """Validation happens at the export."""
        return None
