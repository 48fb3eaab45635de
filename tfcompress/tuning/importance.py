"""Estimate from a search's trials which dimensions the objective depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcompress.reporting.tables import Table
from tfcompress.tuning.results import SearchResult

LEAST_TRIALS = 6
"""Minimum number of trials for an estimate."""


@dataclass(frozen=True)
class Importance:
    """Importance of one dimension.

    Attributes:
        name: Name of the dimension.
        share: Share of the total importance of all dimensions, 0 to 1.
        towards: Spearman's rank correlation between the dimension's value and a better objective,
            -1 to 1.
    """

    name: str
    share: float
    towards: float


def importances(result: SearchResult, seed: int = 0) -> tuple[Importance, ...]:
    """Permutation importance (Breiman 2001) of a random forest fitted to the trials.

    The forest is evaluated on the trials that it was fitted to. With a few dozen trials this ranks
    the dimensions; it does not estimate the size of effects.

    Args:
        result: Result of a search; failed trials are left out.
        seed: Seed of the forest and the permutations.

    Returns:
        Importances in descending order; empty if fewer than six trials have an objective, or all
        have the same.
    """
    from scipy.stats import spearmanr
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    trials, space = result.usable, result.space
    sign = 1.0 if result.objective.direction == "max" else -1.0
    values = sign * np.array([trial.objective for trial in trials], float)
    if len(trials) < LEAST_TRIALS or np.ptp(values) == 0:
        return ()
    places = np.array(
        [
            # An inactive dimension gets a value outside its range, which the forest can split off.
            [space.unit(name, t.params[name]) if name in t.params else -1.0 for name in space]
            for t in trials
        ]
    )
    forest = RandomForestRegressor(200, random_state=seed).fit(places, values)
    drops = permutation_importance(forest, places, values, n_repeats=20, random_state=seed)
    weights = np.maximum(drops.importances_mean, 0.0)
    total = weights.sum() or 1.0
    found = []
    for i, name in enumerate(space):
        active = places[:, i] >= 0
        varies = active.sum() > 2 and np.ptp(places[active, i]) > 0 and np.ptp(values[active]) > 0
        towards = spearmanr(places[active, i], values[active]).statistic if varies else 0.0
        found.append(Importance(name, float(weights[i] / total), float(towards)))
    return tuple(sorted(found, key=lambda item: -item.share))


def importance_table(result: SearchResult) -> Table:
    """The dimensions of a search by importance, as a table."""
    table = Table(("dimension", "importance", "better values"), title="Importance")
    for item in importances(result):
        side = "–"
        if abs(item.towards) >= 0.3:
            side = f"{'larger' if item.towards > 0 else 'smaller'} ({item.towards:+.2f})"
        table.add(item.name, f"{item.share:.0%}", side)
    table.note("permutation importance of a random forest; brackets: rank correlation")
    if not table.rows:
        table.note(f"at least {LEAST_TRIALS} trials with different values are needed")
    return table
