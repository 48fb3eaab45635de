"""Plots of an architecture search: progress, option probabilities, the found architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from bridges.yolov5.nas.architecture import FoundArchitecture
from models.yolov5.search_space import plain_choices
from tfcompress.reporting.plots import COLORS


def plot_probabilities(probabilities: Mapping[str, Mapping[str, float]]) -> Figure:
    """A bar for each choice, divided by the probabilities of its options."""
    figure = Figure(figsize=(8.5, 0.24 * len(probabilities) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, shares in enumerate(probabilities.values()):
        left = 0.0
        for index, (name, share) in enumerate(shares.items()):
            axes.barh(row, share, left=left, color=COLORS[index % len(COLORS)], height=0.8)
            if share > 0.12:
                middle = left + share / 2
                axes.text(middle, row, name, ha="center", va="center", fontsize=6, color="white")
            left += share
    axes.set_yticks(range(len(probabilities)), list(probabilities), fontsize=7)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="probability")
    axes.set_title("Final probabilities of the options", loc="left")
    return figure


def plot_trajectory(history: Sequence[Mapping[str, float]], plain_macs: float) -> Figure:
    """Loss, reward, and MACs (expected, and of the most probable options) against the epoch."""
    keys = {
        "loss": "loss",
        "reward": "reward",
        "expected_macs": "expected MACs / plain MACs",
        "likeliest_macs": "MACs of the most probable / plain MACs",
    }
    shown = {key: title for key, title in keys.items() if any(key in row for row in history)}
    figure = Figure(figsize=(4.0 * len(shown), 3.2), layout="constrained")
    for axes, (key, title) in zip(
        np.atleast_1d(figure.subplots(1, len(shown))), shown.items(), strict=True
    ):
        rows = [row for row in history if key in row]
        scale = plain_macs if key.endswith("_macs") else 1.0
        axes.plot([r["epoch"] for r in rows], [r[key] / scale for r in rows], "o-", color=COLORS[0])
        axes.set(xlabel="epoch", ylabel=title)
        axes.grid(alpha=0.25)
    return figure


def plot_architecture(found: FoundArchitecture) -> Figure:
    """The backbone's rows from input to output, with what was chosen in each."""
    plain = plain_choices(found.space)
    rows = found.space.backbone
    figure = Figure(figsize=(7.5, 0.62 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots()
    for index, row in enumerate(rows):
        own = [label for label in found.choices if label.split("_")[1] == str(index)]
        changed = [label for label in own if found.choices[label] != plain[label]]
        color = COLORS[1] if changed else "#d8dde3"
        axes.barh(index, 1, color=color, height=0.72, alpha=0.35 if changed else 1)
        name = row.module.removeprefix("NAS")
        axes.text(0.01, index, f"{index}  {name} {row.args[0]}", va="center", fontsize=9)
        shown = changed if len(own) > 4 else own
        parts = [f"{'_'.join(label.split('_')[2:])} {found.choices[label]}" for label in shown]
        text = ", ".join(part.strip() for part in parts) if parts else ("plain" if own else "")
        axes.text(0.26, index, text, va="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    axes.set_axis_off()
    return figure
