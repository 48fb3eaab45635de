"""The search for a latency: the share of MACs is varied until the measurement fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tfcompress.errors import ConfigError, NothingToRemove
from tfcompress.pruning.channels.core.budget import Candidate, Counts, counts_at, meet
from tfcompress.pruning.channels.core.options import PlannerOptions


def meet_latency(
    candidates: Sequence[Candidate],
    options: PlannerOptions,
    macs: Callable[[Counts], float],
    milliseconds: Callable[[Counts | None], float],
    subject: str = "the model",
    refuse_unreachable: bool = False,
) -> tuple[Counts, list[str], tuple[float, float]]:
    """Find the counts whose measured latency comes nearest to `options.target_latency_ms`.

    Each candidate is compared with the whole model measured right after it, because a machine may
    become slower while the search runs.

    Args:
        candidates: Groups that may lose units.
        options: Options with the latency to reach and the scope.
        macs: Function from counts to multiply-accumulates of the whole model.
        milliseconds: Function from counts to latency; for None, that of the unpruned model.
        subject: Name of the pruned object, for messages.
        refuse_unreachable: Whether to measure the smallest permitted model first, and refuse the
            target if that model is still more than 5 % slower. Otherwise the nearest counts are
            returned with a note.

    Returns:
        Units that each candidate keeps, notes in words, and (before, after) in milliseconds.

    Raises:
        NothingToRemove: The whole model is as fast already.
        ConfigError: The target is out of reach and `refuse_unreachable` is set.
    """
    wanted, before = float(options.target_latency_ms or 0), float(milliseconds(None))
    if before <= wanted:
        raise NothingToRemove(
            "target_latency_ms", f"{subject} already takes {before:.2f} ms", "ask for less"
        )

    def corrected(counts: Counts) -> float:
        taken = float(milliseconds(counts))
        return taken * before / float(milliseconds(None))

    if refuse_unreachable:
        least = corrected(counts_at(candidates, 1.0, options.scope))
        if least > 1.05 * wanted:
            raise ConfigError(
                options.target,
                f"it cannot be reached: the smallest permitted model takes {least:.2f} ms",
                "ask for less, lower min_kept or round_to, or exclude fewer layers",
            )
    full = macs({c.name: len(c.scores) for c in candidates})
    counts, taken = meet_measured(
        lambda share: meet(candidates, macs, share * full, options.scope), corrected, wanted, before
    )
    notes = []
    if abs(taken / wanted - 1) > 0.1:
        notes.append(
            f"reached {taken:.2f} ms instead of {wanted:.2f} ms, the nearest of what was tried: "
            "latency jumps between widths, or frozen layers and min_kept leave no more to remove"
        )
    return counts, notes, (before, taken)


def require_measure(measure: Callable[[Any], float] | None) -> Callable[[Any], float]:
    """The function that measures, for a target in milliseconds.

    Raises:
        ConfigError: There is none.
    """
    if measure is None:
        raise ConfigError(
            "target_latency_ms",
            "there is nothing to measure with",
            "pass measure=, a function from a model to milliseconds",
        )
    return measure


def meet_measured(
    counts_for: Callable[[float], Counts],
    measure: Callable[[Counts], float],
    wanted: float,
    before: float,
) -> tuple[Counts, float]:
    """Find the counts whose measurement comes nearest to the wanted one; return both.

    The share of a cost that can be counted (MACs) is varied until the measurement (latency) fits.

    Args:
        counts_for: Function from a share of the cost to the counts that keep it.
        measure: Function from counts to a measurement.
        wanted: Measurement to reach, in the unit of `measure`, below `before`.
        before: Measurement of the whole model.
    """
    low, high = 0.0, 1.0
    share = wanted / before
    tried: list[tuple[float, Counts, float]] = []
    for _ in range(8):
        counts = counts_for(share)
        taken = measure(counts)
        gap = abs(taken / wanted - 1)
        tried.append((gap, counts, taken))
        if gap <= 0.05:
            break
        if taken > wanted:
            high = share
        else:
            low = share
        share = min(
            max(share * wanted / taken, low + 0.1 * (high - low)), high - 0.1 * (high - low)
        )
    return min(tried, key=lambda one: one[0])[1:]
