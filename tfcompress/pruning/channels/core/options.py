"""The options of channel pruning, declared once with one set of defaults.

`ChannelOptions` is what every place offers: the configs of Keras models and of detectors, the
recipe step, the command line and the experiments. They inherit from it or repeat its fields flat,
with its defaults; one that needs another default says so, and why, on the line that sets it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.budget import Scope
from tfcompress.pruning.channels.core.scores import SCORES

_TARGET_WORDS = {
    "sparsity": "{:.1%} of the channels removed",
    "target_macs": "{:.1%} of the MACs kept",
    "target_parameters": "{:.1%} of the parameters kept",
    "target_latency_ms": "{:.2f} ms",
}


@dataclass(frozen=True, kw_only=True)
class ChannelOptions:
    """Target of channel pruning, and how channels are chosen. Exactly one target is set.

    The defaults are for a trained model about which nothing else is known:

    - `score="l2"` needs no data and no gradient.
    - `scope="global"` removes channels where the scores say that they matter least.
    - `min_kept=0.1` leaves every group a tenth, so that "global" cannot cut a model in two.
    - `round_to=1` reaches any target, in narrow layers too. A multiple that suits the kernels of a
      device is set where the device is known: 4 for float32, 8 for int8 in XNNPACK.
    - `exclude=()` lets every group shrink that can be followed.

    Attributes:
        sparsity: Share of the channels of all groups to remove, in (0, 1).
        target_macs: Share of the model's multiply-accumulates (MACs) to keep, in (0, 1).
        target_parameters: Share of the model's parameters to keep, in (0, 1).
        score: Importance score, a key of `core.scores.SCORES`.
        scope: "global" compares scores between groups; "group" takes the same share of each.
        min_kept: Smallest share of each group's channels that stays, in [0, 1].
        round_to: Number that every width is a multiple of, at least 1.
        exclude: Names, paths or globs of layers that keep all channels they make.

    Raises:
        ConfigError: No target or several, or a field that is out of its range.
    """

    sparsity: float | None = None
    target_macs: float | None = None
    target_parameters: float | None = None
    score: str = "l2"
    scope: Scope = "global"
    min_kept: float = 0.1
    round_to: int = 1
    exclude: tuple[str, ...] = ()

    choices: ClassVar[Mapping[str, Collection[str]]] = {
        "score": SCORES,
        "scope": ("global", "group"),
    }
    """Known values by field."""

    def __post_init__(self) -> None:
        """Validate everything that needs no model."""
        given, known = self.given_targets, self.known_targets()
        if len(given) > 1 or not (given or self.may_lack_target):
            raise ConfigError(
                type(self).__name__,
                f"it has {len(given)} targets ({', '.join(given) or 'none'})",
                f"set exactly one of {', '.join(known)}",
            )
        for name in given:
            value = getattr(self, name)
            if name == "target_latency_ms":
                if not value > 0:
                    raise ConfigError(name, f"it is {value}", "use ms > 0")
            elif not 0 < value < 1:
                raise ConfigError(
                    name, f"it is {value}, but must be in (0, 1)", "write 0.3 for 30 %"
                )
        for name, allowed in self.choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    name, f"unknown value {getattr(self, name)!r}", f"use {', '.join(allowed)}"
                )
        if not 0 <= self.min_kept <= 1:
            raise ConfigError("min_kept", f"it is {self.min_kept}", "use a share in [0, 1]")
        if not isinstance(self.round_to, int) or self.round_to < 1:
            raise ConfigError("round_to", f"it is {self.round_to}", "use a whole number from 1 on")
        names: Any = self.exclude
        if isinstance(names, str):
            raise ConfigError("exclude", f"it is the string {names!r}", f"write ({names!r},)")

    @classmethod
    def known_targets(cls) -> tuple[str, ...]:
        """Names of the fields that are targets."""
        mine = {field.name for field in fields(cls)}
        return tuple(name for name in _TARGET_WORDS if name in mine)

    @property
    def given_targets(self) -> tuple[str, ...]:
        """Names of the targets that are set."""
        return tuple(name for name in self.known_targets() if getattr(self, name) is not None)

    @property
    def may_lack_target(self) -> bool:
        """Whether something else than a target says how much goes."""
        return False

    @property
    def target(self) -> str:
        """The target in words; empty without one."""
        return next((_TARGET_WORDS[n].format(getattr(self, n)) for n in self.given_targets), "")

    def shared(self) -> dict[str, Any]:
        """The fields of `ChannelOptions` itself, by name, to build other options from."""
        return {field.name: getattr(self, field.name) for field in fields(ChannelOptions)}


@dataclass(frozen=True, kw_only=True)
class PlannerOptions(ChannelOptions):
    """What a planner takes beside the shared options, for Keras models and detectors alike.

    Attributes:
        target_latency_ms: Latency to reach in milliseconds, above 0, in the unit of the `measure`
            that is passed to the planner.
        seed: Seed of the score "random".
    """

    target_latency_ms: float | None = None
    seed: int = 0
