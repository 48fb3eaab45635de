"""Check which weights a granularity applies to, and arrange kernel axes for patterns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfcompress.errors import ConfigError
from tfcompress.pruning.level import masks
from tfcompress.pruning.schedules import Schedule
from tfcompress.pruning.selection import Entry, Selection, Target


def check_pattern(
    granularity: masks.Granularity, scope: str, schedule: Schedule | None, entries: Sequence[Entry]
) -> None:
    """Refuse settings that do not go with a block or an N:M pattern.

    Raises:
        ConfigError: The scope is global, an N:M pattern has a growing schedule, or an entry's
            sparsity is not that of the N:M pattern.
    """
    if scope == "global" and not isinstance(granularity, masks.Unstructured):
        raise ConfigError(
            "scope",
            f"'global' cannot share {granularity} patterns",
            "use scope='layer'",
        )
    if not isinstance(granularity, masks.NOfM):
        return
    if schedule is not None and schedule.at(schedule.begin, 1.0) != 1.0:
        raise ConfigError(
            "schedule",
            f"a {granularity} pattern has one sparsity and cannot grow",
            "use a Constant schedule, or none",
        )
    for i, entry in enumerate(entries):
        if not entry.exclude and abs(entry.sparsity - granularity.sparsity) > 1e-9:
            raise ConfigError(
                f"config_list[{i}]",
                f"sparsity is {entry.sparsity}, but {granularity} means {granularity.sparsity}",
                f"write 'sparsity': {granularity.sparsity}",
            )


def drop_unfit(
    chosen: Selection, granularity: masks.Granularity
) -> tuple[tuple[Target, ...], tuple[tuple[str, str], ...]]:
    """Split a selection into the targets that fit a pattern, and skipped layers with reasons."""
    if isinstance(granularity, masks.Unstructured):
        return chosen.targets, chosen.skipped
    fit, skipped = [], list(chosen.skipped)
    for target in chosen.targets:
        path, role = target.key
        if target.axes is None:
            skipped.append((path, f"{role} has no input and output axes for {granularity}"))
            continue
        inputs = target.variable.shape[target.axes[0]]
        if isinstance(granularity, masks.NOfM) and inputs % granularity.m:
            reason = f"{role} has {inputs} inputs, which is not a multiple of {granularity.m}"
            skipped.append((path, reason))
            continue
        fit.append(target)
    return tuple(fit), tuple(skipped)


def arrange(array: np.ndarray, target: Target, granularity: masks.Granularity) -> np.ndarray:
    """Swap a kernel's axes to (..., inputs, outputs), or those of a mask back."""
    if isinstance(granularity, masks.Unstructured) or target.axes == (-2, -1):
        return array
    return np.swapaxes(array, -1, -2)
