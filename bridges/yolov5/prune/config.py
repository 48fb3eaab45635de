"""What pruning a detector shall reach, validated before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.scores import ACTIVATION_SCORES, GRADIENT_SCORES, SCORES

METHODS = tuple(SCORES)
"""l1, l2, fpgm, gamma (BatchNorm slimming), apoz, mean_activation, taylor, random."""

FROM_DATA = (*ACTIVATION_SCORES, *GRADIENT_SCORES)
"""Methods that need batches of images."""

TARGETS = {
    "sparsity": "{:.1%} of the channels removed",
    "target_macs": "{:.1%} of the MACs kept",
    "target_latency_ms": "{:.2f} ms",
}


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """What pruning shall reach, and how it chooses. Exactly one of the targets is set.

    Attributes:
        sparsity: Share of all channels to remove, in (0, 1).
        target_macs: Share of the detector's MACs to keep, in (0, 1).
        target_latency_ms: Milliseconds, as the `measure` given to `plan_detector` counts.
        method: One of `METHODS`.
        scope: "global" compares scores between layers; "group" takes the same share of each layer.
        min_kept: Share of each group's channels that stays at least.
        round_to: Keep multiples of this many channels.
        exclude: Patterns of layers that keep all channels they make, such as "model.0.*".
        side: Side in pixels of the square that MACs are counted for.
        seed: Of method "random".
    """

    sparsity: float | None = None
    target_macs: float | None = None
    target_latency_ms: float | None = None
    method: str = "l2"
    scope: Literal["global", "group"] = "global"
    min_kept: float = 0.1
    round_to: int = 8
    exclude: tuple[str, ...] = ()
    side: int = 320
    seed: int = 0

    def __post_init__(self) -> None:
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                "PruneConfig",
                f"it has {len(given)} targets ({', '.join(given) or 'none'})",
                f"set exactly one of {', '.join(TARGETS)}",
            )
        for name in ("sparsity", "target_macs"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(
                    name, f"it is {value}, but must be in (0, 1)", "write 0.3 for 30 %"
                )
        if self.target_latency_ms is not None and not self.target_latency_ms > 0:
            raise ConfigError("target_latency_ms", f"it is {self.target_latency_ms}", "use ms > 0")
        for name, known in (("method", METHODS), ("scope", ("global", "group"))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(name, f"{value!r} is unknown", f"use {', '.join(known)}")
        if not 0 <= self.min_kept <= 1:
            raise ConfigError("min_kept", f"it is {self.min_kept}", "use a share in [0, 1]")
        if not isinstance(self.round_to, int) or self.round_to < 1:
            raise ConfigError("round_to", f"it is {self.round_to}", "use a whole number from 1 on")
        if self.side < 32 or self.side % 32:
            raise ConfigError("side", f"it is {self.side}", "give a multiple of 32, such as 320")

    @property
    def target(self) -> str:
        """The target in words."""
        values: dict[str, Any] = {name: getattr(self, name) for name in TARGETS}
        return next(TARGETS[name].format(v) for name, v in values.items() if v is not None)
