"""Groups of channels that are removed together, with the layers that make and read them.

A group holds the channels that the same layers make: the outputs of a convolution, or of all
convolutions whose outputs are added. It loses units (in most cases one channel of each maker)
together with the matching slices of every follower (bias, normalization, depthwise kernel) and
reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.graph.layers import Key
from tfcompress.graph.wiring import read_wiring
from tfcompress.pruning.channels.core.units import FIXED
from tfcompress.pruning.channels.trace.flow import Cut, Flow, Keep, trace
from tfcompress.pruning.channels.trace.layer_rules import LAYER_RULES
from tfcompress.pruning.channels.trace.operation_rules import operation_rule
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Kept = Mapping[str, Sequence[int] | np.ndarray]
"""Positions of the units that stay, by group name."""


@short_repr
@dataclass(frozen=True)
class ChannelGroup:
    """Channels that the same layers make.

    Attributes:
        name: Path of the first maker, followed by "[16:32]" if that layer makes several groups.
        units: Unit ids, in the order in which the first maker makes them.
        size: Number of channels per unit in the first maker.
        makers: Paths of the layers that produce the channels.
        followers: Paths of the layers that process each channel separately and shrink with it.
        readers: Paths of the layers that sum over the channels.
        locked: Booleans, True for each unit that has to stay.
        frozen: Reason why no unit may be removed; empty if some may.
    """

    name: str
    units: tuple[int, ...]
    size: int
    makers: tuple[str, ...]
    followers: tuple[str, ...]
    readers: tuple[str, ...]
    locked: tuple[bool, ...]
    frozen: str

    @property
    def width(self) -> int:
        """Number of channels in the first maker."""
        return len(self.units) * self.size


@short_repr
@dataclass(frozen=True)
class ChannelGraph:
    """The channel groups of a model, and what its layers lose with each unit.

    Attributes:
        model: Model that was traced.
        flow: Record of the rules.
        groups: Groups in the order of their first makers.
    """

    model: Any
    flow: Flow
    groups: tuple[ChannelGroup, ...]

    @property
    def free_share(self) -> float:
        """Share of all channels (of the first makers) that may be removed."""
        free = sum(g.size * sum(not x for x in g.locked) for g in self.groups)
        return free / max(1, sum(g.width for g in self.groups))

    def table(self) -> Table:
        """Which channels could be removed, and why others could not."""
        table = Table(("channels of", "channels", "read by", "may go"), title="Groups of channels")
        for group in self.groups:
            readers = ", ".join(group.readers[:3]) + (" ..." if len(group.readers) > 3 else "")
            may_go = group.frozen or f"{len(group.units) - sum(group.locked)} of {len(group.units)}"
            table.add(group.name, str(group.size * len(group.units)), readers, may_go)
        return table

    def removed(self, kept: Kept) -> dict[Key, tuple[int, ...]]:
        """Channel positions that each maker's kernel loses, by (layer path, role).

        They are positions along the maker's output axis (heads for attention).

        Args:
            kept: Positions within `ChannelGroup.units` that stay, by group name.
        """
        stays = self.keep(kept)
        return {
            cut.key: tuple(np.flatnonzero(~stays[cut.units]).tolist())
            for cut in self.flow.cuts
            if cut.part == "maker" and not stays[cut.units].all()
        }

    def keep(self, kept: Kept) -> Keep:
        """The mask of kept units; groups that are not named stay whole.

        Args:
            kept: Positions within `ChannelGroup.units` that stay, by group name.
        """
        roots = np.ones(len(self.flow.units) + 1, bool)
        for group in self.groups:
            if group.name in kept:
                roots[list(group.units)] = False
                roots[np.asarray(group.units)[np.asarray(kept[group.name], int)]] = True
        raw = self.flow.units.roots(np.arange(len(self.flow.units)))
        return np.append(roots[raw], True)


def find_groups(model: Any) -> ChannelGraph:
    """Trace a functional or Sequential model (Keras 3 or tf_keras) and collect its channel groups.

    Raises:
        LayerError: The model has no graph.
    """
    flow = trace(read_wiring(model, flat=True), LAYER_RULES, operation_rule)
    makers = [cut for cut in flow.cuts if cut.part == "maker"]
    membership: dict[int, list[int]] = {}
    for i, cut in enumerate(makers):
        for unit in np.unique(cut.units).tolist():
            if unit != FIXED:
                membership.setdefault(unit, []).append(i)
    by_makers: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for unit, at in membership.items():
        size = int(np.count_nonzero(makers[at[0]].units == unit))
        by_makers.setdefault((tuple(at), size), []).append(unit)
    touching = _touching(flow)
    groups = [
        _group(flow, makers, at, set(units), touching)
        for (at, _), units in sorted(by_makers.items())
    ]
    return ChannelGraph(model, flow, tuple(_named_apart(groups)))


def _group(
    flow: Flow,
    makers: list[Cut],
    at: tuple[int, ...],
    units: set[int],
    touching: dict[int, list[Cut]],
) -> ChannelGroup:
    first = makers[at[0]].units
    ordered = list(dict.fromkeys(u for u in first.tolist() if u in units))
    reasons = [flow.units.frozen(unit) for unit in ordered]
    cuts = {id(cut): cut for unit in ordered for cut in touching[unit]}.values()

    def paths(part: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cut.key[0] for cut in cuts if cut.part == part))

    made = paths("maker")
    places = np.flatnonzero(np.isin(first, ordered))
    size = int(np.count_nonzero(first == ordered[0]))
    whole = len(ordered) * size == len(first)
    return ChannelGroup(
        name=made[0] if whole else f"{made[0]}[{places[0]}:{places[-1] + 1}]",
        units=tuple(ordered),
        size=size,
        makers=made,
        followers=tuple(path for path in paths("follower") if path not in made),
        readers=paths("reader"),
        locked=tuple(bool(reason) for reason in reasons),
        frozen=next(iter(reasons)) if all(reasons) else "",
    )


def _touching(flow: Flow) -> dict[int, list[Cut]]:
    found: dict[int, list[Cut]] = {}
    for cut in flow.cuts:
        for unit in np.unique(cut.units).tolist():
            found.setdefault(unit, []).append(cut)
    return found


def _named_apart(groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Append "#2", "#3" to the names of further groups of one layer (heads, outputs)."""
    used: dict[str, int] = {}
    result = []
    for group in groups:
        used[group.name] = used.get(group.name, 0) + 1
        count = used[group.name]
        name = group.name if count == 1 else f"{group.name}#{count}"
        result.append(ChannelGroup(**{**vars(group), "name": name}))
    return result
