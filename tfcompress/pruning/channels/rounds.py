"""Channel pruning in rounds with training in between, resumable."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from tfcompress.atomic import write_text
from tfcompress.errors import ConfigError, NothingToRemove
from tfcompress.graph.layers import flavor_of
from tfcompress.graph.rebuild import carry_compile_state
from tfcompress.graph.saving import save_plain
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.targets import Measure
from tfcompress.pruning.channels.trace.groups import find_groups
from tfcompress.short_repr import short_repr

FineTune = Callable[[Any, int], Any]
"""Function of a shrunk model and the round, from 1; returns the trained model, or None if it
trained the given model in place."""


@short_repr
@dataclass(frozen=True)
class RoundsResult:
    """Result of pruning in rounds.

    Attributes:
        model: Model after the last round.
        plans: Plans of the rounds that removed channels, in order.
    """

    model: Any
    plans: tuple[ChannelPlan, ...]


def round_shares(rounds: int, schedule: Literal["agp", "linear"]) -> list[float]:
    """Share of the total removal that is done after each round; the last is 1.

    "agp" is 1 - (1 - t)^3, which removes most at first and little at the end (Zhu and Gupta: "To
    prune, or not to prune", 2017, equation 1).
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
    """Reach a target in rounds: plan, shrink, train, and repeat.

    Args:
        model: Functional or Sequential model; not changed.
        config: Options whose target holds after the last round, as a share of `model`.
        fine_tune: Function that trains the model of each round.
        rounds: Number of rounds.
        schedule: Distribution of the removal over the rounds: "agp" removes most at first, "linear"
            the same amount each time.
        folder: Folder in which each finished round is kept (`round-01.keras`,
            `round-01-plan.json`); a second call continues after the last of them.
        data: Samples, passed on to `plan_channels`.
        loss: Loss function, passed on to `plan_channels`.
        measure: Function from a model to milliseconds, passed on to `plan_channels`.

    Raises:
        ConfigError: Fewer than one round, an unknown schedule, a folder with rounds made with other
            options, or an error of `plan_channels`.
    """
    if rounds < 1:
        raise ConfigError("rounds", f"it is {rounds}", "use at least 1")
    if schedule not in ("agp", "linear"):
        raise ConfigError("schedule", f"unknown value {schedule!r}", "use agp or linear")
    start = float(measure(model)) if measure is not None and config.target_latency_ms else 0.0
    reached = 1.0
    current, plans = model, []
    if folder is not None:
        _check_same(Path(folder), config, rounds, schedule)
    whole = [len(group.units) for group in find_groups(model).groups]
    for i, share in enumerate(round_shares(rounds, schedule), start=1):
        saved = None if folder is None else _load_round(Path(folder), i, flavor_of(model))
        if saved is not None:
            current, plan = saved
            carry_compile_state(model, current)
        else:
            ours = _round_config(config, share, reached, start)
            plan = None
            if ours is not None:
                # The last rounds of "agp" are small steps; one that removes nothing only trains.
                names = [group.name for group in find_groups(current).groups]
                with contextlib.suppress(NothingToRemove):
                    plan = plan_channels(
                        current,
                        ours,
                        data=data,
                        loss=loss,
                        measure=measure,
                        units_before=dict(zip(names, whole, strict=True)),
                    )
            if plan is not None:
                current = shrink(current, plan)
            trained = fine_tune(current, i)
            current = current if trained is None else trained
            if folder is not None:
                _save_round(Path(folder), i, current, plan)
        if plan is not None:
            reached *= _kept_share(config, plan)
            plans.append(plan)
    return RoundsResult(current, tuple(plans))


def _round_config(
    config: ChannelConfig, share: float, reached: float, start_ms: float
) -> ChannelConfig | None:
    """Options of one round, relative to the model it starts from; None if nothing is left to do.

    Sparsities of `config_list` and `min_kept` stay relative to the unpruned model.
    """
    entries = [
        {**entry, "sparsity": share * entry["sparsity"]} if "sparsity" in entry else entry
        for entry in config.config_list
    ]
    config = replace(config, config_list=entries)
    if config.target_latency_ms is not None:
        wanted = start_ms - share * (start_ms - config.target_latency_ms)
        return replace(config, target_latency_ms=wanted)
    for name in ("sparsity", "target_macs", "target_parameters"):
        value = getattr(config, name)
        if value is None:
            continue
        removed = value if name == "sparsity" else 1 - value
        kept = (1 - share * removed) / reached
        if kept >= 1:
            return None
        return replace(config, **{name: 1 - kept if name == "sparsity" else kept})
    raise ConfigError(
        "ChannelConfig",
        "rounds need a target to approach, and config_list alone has none",
        "set sparsity, target_macs, target_parameters or target_latency_ms",
    )


def _check_same(folder: Path, config: ChannelConfig, rounds: int, schedule: str) -> None:
    """Refuse a folder whose rounds were made with other options; record those of this call."""
    path = folder / "rounds.json"
    ours = json.loads(json.dumps({**asdict(config), "rounds": rounds, "schedule": schedule}))
    if path.is_file():
        # An option that is missing there did not exist yet: it had its default.
        defaults = {field.name: field.default for field in fields(config)}
        stored = _with_exclude(json.loads(path.read_text("utf-8")))
        theirs = {**json.loads(json.dumps(defaults)), **stored}
        other = [key for key in ours if ours[key] != theirs.get(key)]
        if other:
            raise ConfigError(
                str(folder),
                f"its rounds were made with {other[0]}={theirs.get(other[0])!r}, not "
                f"{ours[other[0]]!r}",
                "choose another folder, or clear this one",
            )
    write_text(path, json.dumps(ours, indent=1) + "\n")


def _with_exclude(stored: dict[str, Any]) -> dict[str, Any]:
    """Options as they are written today.

    Recipes used to state excluded layers as the only entry of `config_list`.
    """
    entries = stored.get("config_list", [])
    if "exclude" in stored or len(entries) != 1:
        return stored
    if set(entries[0]) != {"exclude", "op_names"} or not entries[0]["exclude"]:
        return stored
    return {**stored, "config_list": [], "exclude": entries[0]["op_names"]}


def _kept_share(config: ChannelConfig, plan: ChannelPlan) -> float:
    if config.target_macs is not None:
        return plan.macs[1] / plan.macs[0]
    if config.target_parameters is not None:
        return plan.parameters[1] / plan.parameters[0]
    return 1 - plan.sparsity


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"round-{number:02d}.keras", folder / f"round-{number:02d}-plan.json"


def _save_round(folder: Path, number: int, model: Any, plan: ChannelPlan | None) -> None:
    model_path, plan_path = _paths(folder, number)
    if plan is not None:
        plan.save(plan_path)
    save_plain(
        model, model_path, training_state=False
    )  # last: this file marks the round as finished


def _load_round(folder: Path, number: int, flavor: str) -> tuple[Any, ChannelPlan | None] | None:
    model_path, plan_path = _paths(folder, number)
    if not model_path.is_file():
        return None
    library = importlib.import_module(flavor)
    model = library.models.load_model(model_path, compile=False)
    return model, ChannelPlan.load(plan_path) if plan_path.is_file() else None
