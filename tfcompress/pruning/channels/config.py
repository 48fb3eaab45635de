"""The options of channel pruning for Keras models, validated before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tfcompress.pruning.channels.core.options import ChannelOptions, PlannerOptions
from tfcompress.pruning.channels.core.scores import AGGREGATES, NORMALIZERS
from tfcompress.pruning.selection import Entry, parse_config_list
from tfcompress.short_repr import short_repr


@short_repr
@dataclass(frozen=True, kw_only=True)
class ChannelConfig(PlannerOptions):
    """Target of a Keras model's channel pruning, and how channels are chosen.

    Exactly one of `sparsity`, `target_macs`, `target_parameters` and `target_latency_ms` is set; or
    none, where entries of `config_list` give sparsities. `ChannelOptions` says why each default is
    what it is.

    Attributes:
        sparsity: Share of the channels of all groups to remove, in (0, 1).
        target_macs: Share of the model's MACs to keep, in (0, 1).
        target_parameters: Share of the model's parameters to keep, in (0, 1).
        target_latency_ms: Latency to reach in milliseconds, in the unit of the `measure` that is
            passed to `plan_channels`.
        score: Importance score, a key of `core.scores.SCORES`.
        scope: "global" compares scores between groups; "group" takes the same share of each.
        aggregate: Way to combine the scores of a unit's channels and makers: "mean", "sum" or
            "max".
        normalize: Way to make scores of different groups comparable: "mean", "max", "gaussian" or
            "none".
        min_kept: Smallest share of each group's channels that stays, in [0, 1].
        round_to: Number that every width is a multiple of (8 suits int8 kernels).
        exclude: Names, paths or globs of layers that keep all channels they make.
        config_list: Entries in NNI's vocabulary: {"exclude": True, "op_names": [...]} keeps the
            groups that these layers make whole; {"sparsity": 0.3, "op_types": [...]} fixes theirs.
            The last match wins, and `exclude` comes after all of them.
        seed: Seed of the score "random".

    Raises:
        ConfigError: A wrong number of targets, or a field that is out of its range.
    """

    aggregate: Literal["mean", "sum", "max"] = "mean"
    normalize: Literal["mean", "max", "gaussian", "none"] = "mean"
    config_list: Sequence[Mapping[str, Any]] = ()

    choices: ClassVar = {
        **ChannelOptions.choices,
        "aggregate": AGGREGATES,
        "normalize": NORMALIZERS,
    }

    def __post_init__(self) -> None:
        """Validate everything that needs no model."""
        super().__post_init__()
        if self.config_list:
            parse_config_list(self.config_list)

    @property
    def may_lack_target(self) -> bool:
        """Whether `config_list` gives sparsities."""
        return any("sparsity" in entry for entry in self.config_list if isinstance(entry, Mapping))

    @property
    def only_entries(self) -> bool:
        """Whether `config_list` alone says how much goes."""
        return not self.given_targets

    @property
    def target(self) -> str:
        """The target in words."""
        return super().target or "sparsities of config_list"

    def entries(self) -> tuple[Entry, ...]:
        """`config_list` and `exclude` as parsed entries, in the order in which they win."""
        listed = parse_config_list(self.config_list) if self.config_list else ()
        if not self.exclude:
            return listed
        return (*listed, Entry(0.0, None, tuple(self.exclude), exclude=True, where="exclude"))
