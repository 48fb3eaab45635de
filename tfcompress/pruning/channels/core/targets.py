"""From a target that can be counted (channels, MACs, parameters) to the width of each group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.budget import Candidate, Counts, Scope, counts_at, meet
from tfcompress.pruning.channels.core.options import ChannelOptions

Cost = Callable[[Counts], float]
"""A cost of the whole model, given the units that each candidate keeps."""


def meet_target(
    candidates: Sequence[Candidate],
    options: ChannelOptions,
    channels: int,
    macs: Cost,
    parameters: Cost,
    frozen: Sequence[tuple[str, str]] = (),
) -> tuple[Counts, list[str]]:
    """Find the counts that reach the target of some options, and say what could not be met.

    Args:
        candidates: The groups that may lose channels.
        options: The target and the scope; without a target only fixed sparsities are applied.
        channels: Number of channels of the whole model, those of other groups included.
        macs: Multiply-accumulates of the whole model.
        parameters: Number of parameters of the whole model.
        frozen: (group, reason) of groups that stay whole, for the error.

    Returns:
        Units that each candidate keeps, and notes in words.

    Raises:
        ConfigError: The target is out of reach.
    """
    held = channels - sum(c.size * len(c.scores) for c in candidates)

    def count_channels(counts: Counts) -> float:
        return held + sum(c.size * counts[c.name] for c in candidates)

    if options.target_macs is not None:
        what, measured, share = "MACs", macs, options.target_macs
    elif options.target_parameters is not None:
        what, measured, share = "parameters", parameters, options.target_parameters
    elif options.sparsity is not None:
        what, measured, share = "channels", count_channels, 1 - options.sparsity
    else:
        return counts_at(candidates, 0.0, options.scope), []
    return meet_share(candidates, measured, share, what, options.target, options.scope, frozen)


def meet_share(
    candidates: Sequence[Candidate],
    measured: Callable[[Counts], float],
    share: float,
    what: str,
    target: str,
    scope: Scope,
    frozen: Sequence[tuple[str, str]] = (),
) -> tuple[Counts, list[str]]:
    """Find the counts that keep a share of a cost, and say what could not be met.

    Args:
        candidates: Groups that may lose units.
        measured: Function from counts to channels, MACs or parameters of the whole model.
        share: Share of that number to keep, in (0, 1).
        what: Name of that number, for messages.
        target: Target in words, for messages.
        scope: "global" compares scores between groups, "group" within each.
        frozen: (group, reason) of groups that stay whole.

    Raises:
        ConfigError: More than that share stays even if all permitted units are removed.
    """
    full = measured({c.name: len(c.scores) for c in candidates})
    least = measured(counts_at(candidates, 1.0, scope))
    if least > 1.02 * share * full:
        names = ", ".join(f"{name} ({reason})" for name, reason in frozen[:3])
        raise ConfigError(
            target,
            f"it cannot be reached: at least {least / full:.1%} of the {what} stay"
            + (f"; frozen: {names}" if frozen else ""),
            "ask for less, lower min_kept or round_to, or exclude fewer layers",
        )
    counts = meet(candidates, measured, share * full, scope)
    reached = measured(counts) / full
    if abs(reached / share - 1) <= 0.02:
        return counts, []
    free = [c for c in candidates if c.sparsity is None]
    note = f"reached {reached:.1%} of the {what} instead of {share:.1%}: "
    if reached < share and all(counts[c.name] == len(c.scores) for c in free):
        return counts, [note + "the sparsities of config_list alone remove more than was asked for"]
    step = max((c.round_to for c in candidates), default=1)
    return counts, [note + f"the next step (round_to={step}, whole units) is further away"]
