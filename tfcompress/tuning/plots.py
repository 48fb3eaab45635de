"""Plots of a search: parallel coordinates, progress over trials and time, learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfcompress.tuning.results import SearchResult, TrialResult
from tfcompress.tuning.space import Choice, LogUniform

_MAP = colormaps["viridis"]
_STATUS = {"finished": "o", "stopped": "v", "failed": "x"}


def plot_parallel_coordinates(result: SearchResult) -> Figure:
    """Plot one line per trial through its parameters and its objective; the best is thick."""
    space, trials = result.space, result.usable
    names = list(space)
    figure = Figure(figsize=(max(6.4, 1.35 * (len(names) + 1)), 4.4), layout="constrained")
    axes = figure.subplots()
    norm = _norm(trials)
    places = range(len(names) + 1)
    for value, trial in reversed(_valued(trials)):
        heights = [
            space.unit(name, trial.params[name]) if name in trial.params else np.nan
            for name in names
        ]
        best = trial is trials[0]
        axes.plot(
            places,
            [*heights, norm(value)],
            color=_MAP(norm(value)),
            lw=2.8 if best else 1.1,
            alpha=1.0 if best else 0.75,
            marker=".",
            zorder=3 if best else 2,
        )
    for place, name in enumerate(names):
        axes.axvline(place, color="#bbbbbb", lw=0.8, zorder=1)
        dimension = space.dimensions[name]
        low, high = _ends(dimension)
        axes.text(place, -0.05, low, ha="center", va="top", fontsize=7, color="#555555")
        axes.text(place, 1.05, high, ha="center", va="bottom", fontsize=7, color="#555555")
        if isinstance(dimension, Choice):
            for option, label in list(zip(dimension.options, dimension.labels, strict=True))[1:-1]:
                height = dimension.unit(option)
                text = axes.text(
                    place + 0.08, height, label, va="center", fontsize=7, color="#555555", zorder=4
                )
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
    axes.axvline(places[-1], color="#bbbbbb", lw=0.8, zorder=1)
    axes.text(places[-1], -0.05, f"{norm.vmin:.4g}", ha="center", va="top", fontsize=7)
    axes.text(places[-1], 1.05, f"{norm.vmax:.4g}", ha="center", va="bottom", fontsize=7)
    axes.set_xticks(places, [*names, result.objective.metric], rotation=30, ha="right", fontsize=8)
    axes.tick_params(axis="x", pad=12)
    axes.set(ylim=(-0.02, 1.02), yticks=[])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_title(f"{len(trials)} trials; the best is thick", loc="left", pad=18, fontsize=10)
    figure.colorbar(ScalarMappable(norm, _MAP), ax=axes, label=result.objective.metric)
    return figure


def plot_progress(result: SearchResult) -> Figure:
    """Plot each trial's objective and the best so far, against trials and against wall time."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    trials = [trial for trial in result.trials if trial.objective is not None]
    by_end = sorted(trials, key=lambda trial: trial.started + trial.seconds)
    for axes, x, ordered, label in (
        (panels[0], lambda trial: trial.number, trials, "trial"),
        (panels[1], _ended_minutes, by_end, "minutes from the start"),
    ):
        for status, marker in _STATUS.items():
            some = [pair for pair in _valued(ordered) if pair[1].status == status]
            if some:
                axes.plot(
                    [x(trial) for _, trial in some],
                    [value for value, _ in some],
                    marker,
                    color="#2f6fb0" if status == "finished" else "#b8862b",
                    label=status,
                    ms=5,
                )
        best = _best_so_far([value for value, _ in _valued(ordered)], result)
        axes.step(
            [x(trial) for trial in ordered], best, where="post", color="#d1495b", label="best"
        )
        for trial in result.trials:
            if trial.objective is None:
                axes.axvline(x(trial), color="#d1495b", lw=0.7, ls=":")
        axes.set_xlabel(label)
        axes.grid(alpha=0.25)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel(result.objective.metric)
    panels[0].legend(fontsize=8, frameon=False)
    failed = sum(trial.objective is None for trial in result.trials)
    dotted = f"; {failed} failed (dotted)" if failed else ""
    panels[0].set_title(f"Objective{dotted}", loc="left", fontsize=10)
    return figure


def plot_learning_curves(result: SearchResult) -> Figure:
    """Plot the objective of every trial against the epoch, colored by the trial's best value."""
    figure = Figure(figsize=(6.8, 4.0), layout="constrained")
    axes = figure.subplots()
    trials = result.usable
    norm = _norm(trials)
    for value, trial in reversed(_valued(trials)):
        rows = [row for row in trial.history if result.objective.metric in row]
        if not rows:
            continue
        axes.plot(
            [row["epoch"] for row in rows],
            [row[result.objective.metric] for row in rows],
            color=_MAP(norm(value)),
            lw=2.4 if trial is trials[0] else 1.1,
            ls="-" if trial.status == "finished" else "--",
            marker="." if len(rows) == 1 else None,
        )
    axes.set(xlabel="epoch", ylabel=result.objective.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Learning curves; dashed: stopped early or failed", loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    figure.colorbar(ScalarMappable(norm, _MAP), ax=axes, label="best of the trial")
    return figure


def _valued(trials: Sequence[TrialResult]) -> list[tuple[float, TrialResult]]:
    """(objective, trial) of the trials that have an objective."""
    return [(trial.objective, trial) for trial in trials if trial.objective is not None]


def _norm(trials: tuple[TrialResult, ...]) -> Normalize:
    values = [value for value, _ in _valued(trials)] or [0.0]
    low, high = min(values), max(values)
    return Normalize(low, high if high > low else low + 1e-9)


def _best_so_far(values: list[float], result: SearchResult) -> Any:
    pick = np.maximum if result.objective.direction == "max" else np.minimum
    return pick.accumulate(values) if values else []


def _ended_minutes(trial: TrialResult) -> float:
    return (trial.started + trial.seconds) / 60


def _ends(dimension: Any) -> tuple[str, str]:
    if isinstance(dimension, Choice):
        return dimension.labels[0], dimension.labels[-1]
    log = isinstance(dimension, LogUniform) or getattr(dimension, "log", False)
    return f"{dimension.low:g}" + (" (log)" if log else ""), f"{dimension.high:g}"
