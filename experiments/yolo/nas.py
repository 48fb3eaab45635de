"""What the architecture searches share: found, plain and random detectors, trained alike."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.data.tiny_imagenet import tiny_imagenet_proxy
from bridges.yolov5.detector.file import load_detector
from bridges.yolov5.nas.architecture import FoundArchitecture, write_architecture
from bridges.yolov5.nas.proxies import DetectionProxy, Proxy, digits_proxy
from experiments.common.program import compared
from experiments.common.report import end_run, history_section
from experiments.yolo.detection import (
    DETECTION_SMOKE,
    DetectionConfig,
    comparison_table,
    cost_of,
    score_file,
    train_and_save,
)
from models.yolov5.architecture_file import Architecture
from models.yolov5.build import Detector
from models.yolov5.search_space import as_space, list_choices, plain_choices
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import COLORS, plot_tradeoff, save_figure
from tfcompress.reporting.run import Run, environment

NAS_SMOKE = {**DETECTION_SMOKE, "side": 64, "shape_side": 64, "shapes": 16, "epochs": 1,
             "plain_epochs": 0}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NasConfig(DetectionConfig):
    """Fields of every architecture search; `epochs` are those of the final trainings."""

    macs_weight: float = 1.0
    """Penalty for twice the plain detector's MACs."""
    macs_budget: float = 1.0
    """Share of the plain detector's MACs (or latency) below which there is nothing more to win; 0:
    every one counts, and the weight is what quality is traded for."""
    proxy: Literal["detection", "digits", "tiny-imagenet"] = "detection"
    """What is searched on: detection itself, or the accuracy of a classifier on the backbone."""
    proxy_data: str = ""
    """Folder of TinyImageNet, for that proxy."""
    port: int = 0
    """Of the page that shows the search under way, on loopback; 0: a free one."""
    search_side: int = 160
    """Side of the images in a search on detection in one supernet."""
    search_batch: int = 8
    """Images in a step of a search in one supernet, or on a proxy."""

    def check(self) -> None:
        """Check what would fail after loading."""
        super().check()
        if self.proxy == "tiny-imagenet" and not self.proxy_data:
            raise ConfigError("proxy_data", "it is empty", "give the folder of tiny-imagenet-200")
        if not 0 <= self.port < 65536:
            raise ConfigError("port", f"it is {self.port}", "use 1 to 65535, or 0 for a free one")
        if self.macs_budget < 0:
            raise ConfigError("macs_budget", f"it is {self.macs_budget}", "give 0 or more")


def space_of(config: NasConfig) -> Architecture:
    """The space around the model's architecture.

    Raises:
        ArchitectureError: The architecture is unknown or wrong.
    """
    return as_space(config.model)


def proxy_of(config: NasConfig, data: DetectionData) -> Proxy:
    """What is searched on.

    Raises:
        DataError: TinyImageNet is not whole.
    """
    if config.proxy == "digits":
        return digits_proxy(32, config.search_batch)
    if config.proxy == "tiny-imagenet":
        return tiny_imagenet_proxy(config.proxy_data, 64, config.search_batch, seed=config.seed)
    return DetectionProxy(data, config.search_side, config.search_batch, Augmentation())


def random_architecture(space: Architecture, seed: int) -> FoundArchitecture:
    """An architecture drawn evenly, for comparison."""
    generator = random.Random(seed)
    choices = {label: generator.choice(names) for label, names in list_choices(space).items()}
    return FoundArchitecture(space, choices, {"strategy": "drawn evenly", "seed": seed})


def finish_search(
    run: Run,
    config: NasConfig,
    data: DetectionData,
    found: FoundArchitecture,
    title: str,
    sections: Sequence[Section],
    more: Mapping[str, Any],
    starts: Mapping[str, Detector] = {},
) -> dict[str, Any]:
    """Train the found, the plain and a random detector for the same epochs; report; the metrics.

    Args:
        run: Where everything goes.
        config: Epochs and the like.
        data: The data set.
        found: What was found.
        title: Heading of the report.
        sections: The search's own part of it.
        more: The search's own metrics.
        starts: More detectors to train, by name, from the weights that they have.
    """
    space = found.space
    write_architecture(run.path("architecture.json"), found)
    run.print(found.table())
    contenders = {
        "found": found,
        "plain": FoundArchitecture(space, plain_choices(space)),
        "random": random_architecture(space, config.seed + 1),
    }
    histories, scores, detectors = {}, {}, {}
    for name in (*contenders, *starts):
        file = f"{name}.pt"
        torch.manual_seed(config.seed)
        detector = contenders[name].detector(data.names) if name in contenders else starts[name]
        result = train_and_save(detector, data, config, run, name, file)
        histories[name] = list(result.history)
        scores[name] = score_file(run, file, data, data.test_split)
        detectors[name] = load_detector(run.path(file)).detector
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    with run.console.status("measuring"):
        costs, numbers = cost_of(detectors, config.side)
    table = comparison_table(scores, numbers, data.test_split)
    points = [(n, numbers[n]["macs"] / 1e6, score.map) for n, score in scores.items()]
    tradeoff = plot_tradeoff(points, "million MACs", "mAP50-95 on the test images")
    write_page(
        run.path("report.html"),
        title,
        f"{', '.join(scores).capitalize()}: detectors trained for {config.epochs} epochs each, on "
        f"{scores['found'].images} {data.test_split} images.",
        [
            Section(
                "Comparison",
                tables=(table, costs),
                pictures=(
                    ("Quality against cost", save_figure(tradeoff, run.path("plots", "cost.png"))),
                ),
            ),
            *sections,
            Section(
                "The architecture",
                tables=(found.table(),),
                pictures=(
                    (
                        "Each row's choices, colored where they differ from the plain ones",
                        save_figure(
                            plot_architecture(found), run.path("plots", "architecture.png")
                        ),
                    ),
                ),
            ),
            history_section(
                run, histories, metrics={"map": "mAP50-95", "map50": "mAP50", "loss": "loss"}
            ),
        ],
        compared(config),
        environment(),
    )
    run.print(table)
    metrics = {"test": {n: s.to_dict() for n, s in scores.items()}, "cost": numbers, **more}
    return end_run(run, metrics)


def plot_probabilities(probabilities: Mapping[str, Mapping[str, float]]) -> Figure:
    """A bar for each choice, divided by how probable its options are."""
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
    axes.set_title("How probable each option is at the end", loc="left")
    return figure


def plot_trajectory(history: Sequence[Mapping[str, float]], plain_macs: float) -> Figure:
    """Loss, reward, and MACs (expected, and of the likeliest options) against the epoch."""
    keys = {
        "loss": "loss",
        "reward": "reward",
        "expected_macs": "expected MACs / plain MACs",
        "likeliest_macs": "MACs of the likeliest / plain MACs",
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
