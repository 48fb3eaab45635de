"""Sparsity schedules: the sparsity at each step or epoch of a training.

A schedule tells when masks are recomputed (`due`) and at which sparsity (`at`). Its unit is either
optimizer steps or epochs. All schedules are frozen and validate themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfcompress.errors import ConfigError

Unit = Literal["step", "epoch"]


@dataclass(frozen=True)
class Polynomial:
    """Polynomial growth, fast at first: `s_t = s_f + (s_i - s_f) (1 - (t - t0) / (T - t0))^p`.

    Reference: Zhu and Gupta: "To prune, or not to prune: exploring the efficacy of pruning for
    model compression", 2017, equation 1 (p = 3).

    Attributes:
        begin: First step at which weights are masked.
        end: Step at which the final sparsity is reached.
        initial: Sparsity at `begin`, in [0, 1). A layer with a lower final sparsity starts at that.
        power: Exponent p.
        frequency: Number of steps between two updates of the masks.
        unit: Unit of these numbers: optimizer steps ("step") or epochs ("epoch").

    Raises:
        ConfigError: A number is out of range.
    """

    begin: int
    end: int
    initial: float = 0.0
    power: float = 3.0
    frequency: int = 100
    unit: Unit = "step"

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.begin < 0 or self.end <= self.begin:
            raise ConfigError(
                f"{name} schedule",
                f"begin is {self.begin} and end is {self.end}",
                "use 0 <= begin < end",
            )
        if not 0 <= self.initial < 1:
            raise ConfigError(
                f"{name} schedule",
                f"initial is {self.initial}, but must be in [0, 1)",
                "write 0.5 for 50 %",
            )
        if self.power <= 0 or self.frequency < 1:
            raise ConfigError(
                f"{name} schedule",
                f"power is {self.power} and frequency is {self.frequency}",
                "use a positive power and a frequency of at least 1",
            )
        if self.unit not in ("step", "epoch"):
            raise ConfigError(f"{name} schedule", f"unit is {self.unit!r}", "use 'step' or 'epoch'")

    def at(self, step: int, final: float) -> float:
        """Sparsity at a step (or epoch), given the final sparsity of a weight."""
        if step < self.begin:
            return 0.0
        initial = min(self.initial, final)
        progress = min(1.0, (step - self.begin) / (self.end - self.begin))
        return final + (initial - final) * (1 - progress) ** self.power

    def due(self, before: int, after: int) -> bool:
        """Whether masks are updated when the step count goes from `before` to `after`."""
        if after < self.begin or before >= self.end:
            return False
        if before < self.begin or after >= self.end:
            return True
        every = self.frequency
        return (after - self.begin) // every > (before - self.begin) // every


def agp(end_epoch: int, begin_epoch: int = 0, initial: float = 0.0) -> Polynomial:
    """Automated gradual pruning (AGP) as in NNI: a cubic `Polynomial` with updates every epoch.

    Args:
        end_epoch: Epoch (from 0) at whose start the final sparsity is reached.
        begin_epoch: Epoch at whose start pruning begins.
        initial: Sparsity at `begin_epoch`, in [0, 1).
    """
    return Polynomial(begin_epoch, end_epoch, initial, power=3.0, frequency=1, unit="epoch")


@dataclass(frozen=True)
class Constant:
    """The final sparsity from the start, with masks recomputed at intervals.

    Attributes:
        begin: First step at which weights are masked.
        end: Last step at which masks are recomputed; None for no end.
        frequency: Number of steps between two updates of the masks.
        unit: Unit of these numbers: optimizer steps ("step") or epochs ("epoch").

    Raises:
        ConfigError: A number is out of range.
    """

    begin: int
    end: int | None = None
    frequency: int = 100
    unit: Unit = "step"

    def __post_init__(self) -> None:
        if self.begin < 0 or (self.end is not None and self.end < self.begin):
            raise ConfigError(
                "Constant schedule",
                f"begin is {self.begin} and end is {self.end}",
                "use 0 <= begin <= end, or end=None",
            )
        if self.frequency < 1:
            raise ConfigError(
                "Constant schedule", f"frequency is {self.frequency}", "use at least 1"
            )
        if self.unit not in ("step", "epoch"):
            raise ConfigError(
                "Constant schedule", f"unit is {self.unit!r}", "use 'step' or 'epoch'"
            )

    def at(self, step: int, final: float) -> float:
        """Sparsity at a step (or epoch), given the final sparsity of a weight."""
        return final if step >= self.begin else 0.0

    def due(self, before: int, after: int) -> bool:
        """Whether masks are updated when the step count goes from `before` to `after`."""
        if after < self.begin or (self.end is not None and before >= self.end):
            return False
        if before < self.begin:
            return True
        every = self.frequency
        return (after - self.begin) // every > (before - self.begin) // every


Schedule = Polynomial | Constant
