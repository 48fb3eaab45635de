"""What channel pruning shall reach, validated before any work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.budget import Scope
from tfcompress.pruning.channels.core.scores import AGGREGATES, NORMALIZERS, SCORES
from tfcompress.pruning.selection import parse_config_list


@dataclass(frozen=True, kw_only=True)
class ChannelConfig:
    """What channel pruning shall reach, and how it chooses.

    Exactly one of `sparsity`, `target_macs`, `target_parameters` and `target_latency_ms` is set; or
    none, where entries of `config_list` give sparsities.

    Attributes:
        sparsity: Share of the channels of all groups to remove, in (0, 1).
        target_macs: Share of the model's MACs to keep, in (0, 1).
        target_parameters: Share of its parameters to keep, in (0, 1).
        target_latency_ms: Milliseconds, as the `measure` that is passed to `plan_channels` counts.
        score: One of `channel_scores.SCORES`.
        scope: "global" compares scores between groups; "group" takes the same share of each.
        aggregate: How a unit's channels and makers combine: "mean", "sum" or "max".
        normalize: How scores of different groups become comparable: "mean", "max", "gaussian",
            "none".
        min_kept: Share of each group's channels that stays at least.
        round_to: Keep multiples of this many channels (8 suits int8 kernels).
        config_list: NNI's vocabulary: {"exclude": True, "op_names": [...]} keeps the groups that
            these layers make whole; {"sparsity": 0.3, "op_types": [...]} fixes theirs. The last
            match wins.
        seed: Of score "random".
    """

    sparsity: float | None = None
    target_macs: float | None = None
    target_parameters: float | None = None
    target_latency_ms: float | None = None
    score: str = "l2"
    scope: Scope = "global"
    aggregate: Literal["mean", "sum", "max"] = "mean"
    normalize: Literal["mean", "max", "gaussian", "none"] = "mean"
    min_kept: float = 0.1
    round_to: int = 1
    config_list: Sequence[Mapping[str, Any]] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate everything that needs no model."""
        given = [name for name in _TARGETS if getattr(self, name) is not None]
        fixed = any("sparsity" in entry for entry in self.config_list if isinstance(entry, Mapping))
        if len(given) > 1 or not (given or fixed):
            raise ConfigError(
                "ChannelConfig",
                f"it has {len(given)} targets ({', '.join(given) or 'none'})",
                f"set exactly one of {', '.join(_TARGETS)}",
            )
        for name in _TARGETS[:3]:
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(
                    name, f"it is {value}, but must be in (0, 1)", "write 0.5 for one half"
                )
        if self.target_latency_ms is not None and not self.target_latency_ms > 0:
            raise ConfigError("target_latency_ms", f"it is {self.target_latency_ms}", "use ms > 0")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    name, f"unknown value {getattr(self, name)!r}", f"use {', '.join(known)}"
                )
        if not 0 <= self.min_kept <= 1:
            raise ConfigError("min_kept", f"it is {self.min_kept}", "use a share in [0, 1]")
        if not isinstance(self.round_to, int) or self.round_to < 1:
            raise ConfigError("round_to", f"it is {self.round_to}", "use a whole number from 1 on")
        if self.config_list:
            parse_config_list(self.config_list)

    @property
    def only_entries(self) -> bool:
        """Whether `config_list` alone says how much goes."""
        return all(getattr(self, name) is None for name in _TARGETS)

    @property
    def target(self) -> str:
        """The target in words."""
        for name, text in _TARGET_WORDS.items():
            if getattr(self, name) is not None:
                return text.format(getattr(self, name))
        return "sparsities of config_list"


_TARGETS = ("sparsity", "target_macs", "target_parameters", "target_latency_ms")
_TARGET_WORDS = {
    "sparsity": "{:.1%} of the channels removed",
    "target_macs": "{:.1%} of the MACs kept",
    "target_parameters": "{:.1%} of the parameters kept",
    "target_latency_ms": "{:.2f} ms",
}
_CHOICES: dict[str, Collection[str]] = {
    "score": SCORES,
    "scope": ("global", "group"),
    "aggregate": AGGREGATES,
    "normalize": NORMALIZERS,
}
