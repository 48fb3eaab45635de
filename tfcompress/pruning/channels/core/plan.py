"""The plan of channel pruning: frozen, printable, saved as JSON, applied later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tfcompress.atomic import write_text
from tfcompress.errors import ConfigError
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

FORMAT = 1


@short_repr
@dataclass(frozen=True)
class GroupPlan:
    """The planned change of one channel group.

    Attributes:
        name: Name of the group.
        width: Number of channels before pruning.
        kept: Positions of the units that stay.
        size: Number of channels per unit.
        makers: Paths of the layers that produce the channels.
        readers: Paths of the layers that sum over the channels.
        frozen: Reason why the group stays whole; empty if it may lose channels.
        error: Relative error of the readers' outputs on the given data before any refit: Frobenius
            norm of the change divided by that of the output; None without data.
    """

    name: str
    width: int
    kept: tuple[int, ...]
    size: int
    makers: tuple[str, ...]
    readers: tuple[str, ...]
    frozen: str = ""
    error: float | None = None

    @property
    def kept_width(self) -> int:
        """Number of channels after pruning."""
        return len(self.kept) * self.size


@short_repr
@dataclass(frozen=True)
class ChannelPlan:
    """A plan to remove channels.

    Attributes:
        model: Name of the model that the plan was made for.
        groups: Plans of all channel groups.
        macs: (before, after) multiply-accumulates of one sample; `notes` lists uncounted layers.
        parameters: (before, after) number of parameters.
        latency_ms: (before, after) milliseconds as measured while planning; None without a latency
            target.
        target: Target in words.
        notes: Sentences on what could not be met or counted, with the reason.
        config: Options of the planner, as plain data.
    """

    model: str
    groups: tuple[GroupPlan, ...]
    macs: tuple[int, int]
    parameters: tuple[int, int]
    latency_ms: tuple[float, float] | None
    target: str
    notes: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def sparsity(self) -> float:
        """Share of the channels of all groups that the plan removes."""
        return 1 - sum(g.kept_width for g in self.groups) / sum(g.width for g in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for JSON."""
        return {"format": FORMAT, **asdict(self)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON, atomically."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ChannelPlan:
        """Read a plan.

        Raises:
            ConfigError: The file is missing or holds no plan.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise KeyError("format")
            groups = tuple(GroupPlan(**_frozen(group)) for group in content.pop("groups"))
            return cls(groups=groups, **_frozen(content))
        except OSError as error:
            raise ConfigError(str(path), f"it cannot be read ({error})", "check the path") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                str(path),
                f"it is no channel plan of format {FORMAT} ({error})",
                "write it with ChannelPlan.save",
            ) from None

    def with_errors(self, errors: Mapping[str, float]) -> ChannelPlan:
        """The plan with the reconstruction error of each group, given by name."""
        groups = tuple(replace(g, error=errors.get(g.name, g.error)) for g in self.groups)
        return replace(self, groups=groups)

    def table(self) -> Table:
        """The plan as a table."""
        measured = any(group.error is not None for group in self.groups)
        columns = ("group", "width", "kept", "share", *(["error"] if measured else []))
        table = Table(
            (*columns, "makers", "readers", "frozen"),
            title=f"Channel plan: {self.target}",
            drop=("readers", "makers"),
        )
        for group in self.groups:
            error = [] if not measured else ["" if group.error is None else f"{group.error:.3f}"]
            table.add(
                group.name,
                str(group.width),
                str(group.kept_width),
                f"{group.kept_width / group.width:.0%}",
                *error,
                _some(group.makers),
                _some(group.readers),
                group.frozen,
            )
        widths = [sum(getattr(g, name) for g in self.groups) for name in ("width", "kept_width")]
        table.total(
            "total",
            *map(str, widths),
            f"{widths[1] / widths[0]:.0%}",
            *([""] if measured else []),
            *("", "", ""),
        )
        before, after = self.parameters
        table.note(f"parameters {before:,} -> {after:,} ({after / before:.1%})")
        before, after = self.macs
        table.note(f"MACs {before:,} -> {after:,} ({after / max(1, before):.1%})")
        if self.latency_ms is not None:
            slow, fast = self.latency_ms
            table.note(f"latency {slow:.2f} -> {fast:.2f} ms ({fast / slow:.1%})")
        for note in self.notes:
            table.note(note)
        return table

    def __str__(self) -> str:
        return str(self.table())


def _frozen(content: Mapping[str, Any]) -> dict[str, Any]:
    """Lists from JSON as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def _some(paths: tuple[str, ...]) -> str:
    return ", ".join(paths) if len(paths) <= 2 else f"{paths[0]} and {len(paths) - 1} more"
