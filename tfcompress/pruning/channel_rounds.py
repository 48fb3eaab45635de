"""Channel pruning in rounds with training between them, resumable."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.graph.layers import flavor_of
from tfcompress.graph.saving import save_plain
from tfcompress.pruning.channel_config import ChannelConfig
from tfcompress.pruning.channel_plan import ChannelPlan
from tfcompress.pruning.channel_targets import Measure
from tfcompress.pruning.channels import plan_channels, shrink

FineTune = Callable[[Any, int], Any]
"""(shrunk model, round from 1) -> the trained model, or None if it trained in place."""


@dataclass(frozen=True)
class RoundsResult:
    """What pruning in rounds gave.

    Attributes:
        model: After the last round.
        plans: One per round.
    """

    model: Any
    plans: tuple[ChannelPlan, ...]


def round_shares(rounds: int, schedule: Literal["agp", "linear"]) -> list[float]:
    """Share of the whole removal that is done after each round; the last is 1.

    "agp" is 1 - (1 - t)^3: much at first, little at the end (Zhu and Gupta: "To prune, or not to
    prune", 2017, equation 1).
    """
    steps = [(i + 1) / rounds for i in range(rounds)]
    return steps if schedule == "linear" else [1 - (1 - t) ** 3 for t in steps]


def prune_in_rounds(
    model: Any,
    config: ChannelConfig,
    fine_tune: FineTune,
    rounds: int = 3,
    schedule: Literal["agp", "linear"] = "agp",
    folder: str | os.PathLike[str] | None = None,
    data: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    measure: Measure | None = None,
) -> RoundsResult:
    """Approach a target in rounds: plan, shrink, train, and again.

    Args:
        model: Functional or Sequential; not changed.
        config: The target of the last round, as a share of `model`.
        fine_tune: Trains each round's model.
        rounds: How many.
        schedule: How the removal is spread over the rounds.
        folder: Each finished round is kept here (`round-01.keras`, `round-01-plan.json`); a second
            call goes on after the last of them.
        data: As in `plan_channels`.
        loss: As in `plan_channels`.
        measure: As in `plan_channels`.

    Raises:
        ConfigError: Fewer than one round, an unknown schedule, or what `plan_channels` raises.
    """
    if rounds < 1:
        raise ConfigError("rounds", f"it is {rounds}", "use at least 1")
    if schedule not in ("agp", "linear"):
        raise ConfigError("schedule", f"unknown value {schedule!r}", "use agp or linear")
    start = float(measure(model)) if measure is not None and config.target_latency_ms else 0.0
    reached = 1.0
    current, plans = model, []
    for i, share in enumerate(round_shares(rounds, schedule), start=1):
        saved = None if folder is None else _load_round(Path(folder), i, flavor_of(model))
        if saved is not None:
            current, plan = saved
        else:
            ours = _round_config(config, share, reached, start)
            plan = plan_channels(current, ours, data=data, loss=loss, measure=measure)
            current = shrink(current, plan)
            trained = fine_tune(current, i)
            current = current if trained is None else trained
            if folder is not None:
                save_plain(current, Path(folder) / f"round-{i:02d}.keras", training_state=False)
                plan.save(Path(folder) / f"round-{i:02d}-plan.json")  # last: the round is whole
        reached *= _kept_share(config, plan)
        plans.append(plan)
    return RoundsResult(current, tuple(plans))


def _round_config(
    config: ChannelConfig, share: float, reached: float, start_ms: float
) -> ChannelConfig:
    """The config of one round, relative to the model that it starts from."""
    if config.target_latency_ms is not None:
        wanted = start_ms - share * (start_ms - config.target_latency_ms)
        return replace(config, target_latency_ms=wanted)
    if config.sparsity is not None:
        return replace(config, sparsity=1 - (1 - share * config.sparsity) / reached)
    for name in ("target_macs", "target_parameters"):
        value = getattr(config, name)
        if value is not None:
            return replace(config, **{name: (1 - share * (1 - value)) / reached})
    raise ConfigError(
        "ChannelConfig",
        "rounds need a target to approach, and config_list alone has none",
        "set sparsity, target_macs, target_parameters or target_latency_ms",
    )


def _kept_share(config: ChannelConfig, plan: ChannelPlan) -> float:
    if config.target_macs is not None and plan.macs is not None:
        return plan.macs[1] / plan.macs[0]
    if config.target_parameters is not None:
        return plan.parameters[1] / plan.parameters[0]
    return 1 - plan.sparsity


def _load_round(folder: Path, number: int, flavor: str) -> tuple[Any, ChannelPlan] | None:
    model_path, plan_path = (
        folder / f"round-{number:02d}{end}" for end in (".keras", "-plan.json")
    )
    if not (model_path.is_file() and plan_path.is_file()):
        return None
    if flavor == "keras":
        import keras as library
    else:
        import tf_keras as library
    return library.models.load_model(model_path, compile=False), ChannelPlan.load(plan_path)
