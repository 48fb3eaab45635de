"""The options of pruning a detector, validated before any work."""

from __future__ import annotations

from dataclasses import dataclass

from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.options import PlannerOptions
from tfcompress.renamed import renamed_fields


@renamed_fields(method="score")
@dataclass(frozen=True, kw_only=True)
class PruneConfig(PlannerOptions):
    """Target of a detector's pruning, and how channels are chosen. Exactly one target is set.

    `ChannelOptions` says why each default is what it is.

    Attributes:
        sparsity: Share of all channels to remove, in (0, 1).
        target_macs: Share of the detector's MACs to keep, in (0, 1).
        target_parameters: Share of the detector's parameters to keep, in (0, 1).
        target_latency_ms: Latency to reach in milliseconds, in the unit of the `measure` that is
            passed to `plan_detector`.
        score: Importance score, a key of `core.scores.SCORES`: l1, l2, fpgm, gamma (BatchNorm
            slimming), apoz, mean_activation, taylor or random.
        scope: "global" compares scores between layers; "group" takes the same share of each layer.
        min_kept: Smallest share of each group's channels that stays, in [0, 1].
        round_to: Number that every width is a multiple of.
        exclude: Patterns of layers that keep all channels they make, such as "model.0.*".
        side: Side in pixels of the square image that MACs are counted for, a multiple of 32.
        seed: Seed of the score "random".

    Raises:
        ConfigError: No target or several, or a field that is out of its range.
    """

    round_to: int = 8  # XNNPACK's int8 kernels work on multiples of 8; ChannelOptions has 1
    side: int = 320

    def __post_init__(self) -> None:
        """Validate everything that needs no detector."""
        super().__post_init__()
        if self.side < 32 or self.side % 32:
            raise ConfigError("side", f"it is {self.side}", "give a multiple of 32, such as 320")
