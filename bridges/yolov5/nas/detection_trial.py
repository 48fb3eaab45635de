"""One trial of a multi-trial search: a detector of some architecture, trained for a few epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.detector.cost import count_torch_cost, measure_torch_latency
from bridges.yolov5.detector.train import TrainSettings, train_detector
from bridges.yolov5.nas.architecture import FoundArchitecture
from bridges.yolov5.nas.trials import cost_objective
from models.yolov5.architecture_file import Architecture
from models.yolov5.search_space import plain_choices
from tfcompress.errors import ConfigError

OBJECTIVES = ("map", "macs", "latency")


@dataclass(frozen=True)
class DetectionTrial:
    """Trains and scores an architecture on validation; it can be sent to another process.

    Attributes:
        space: The search space.
        data: Path of data.yaml, or its folder.
        settings: Settings of the short training.
        objective: "map" alone, or minus the cost relative to the plain network's, in "macs" or in
            measured "latency".
        weight: Penalty subtracted from the score at twice the plain network's cost.
        budget: Fraction of the plain network's cost below which saving more does not raise the
            score.
        threads: Number of PyTorch threads; 0: PyTorch's default.
    """

    space: Architecture
    data: str
    settings: TrainSettings
    objective: str = "macs"
    weight: float = 0.05
    budget: float = 0.0
    threads: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(
                "objective", f"{self.objective!r} is unknown", f"use {', '.join(OBJECTIVES)}"
            )

    def __call__(
        self, choices: Mapping[str, str], report: Callable[[float], None]
    ) -> dict[str, float]:
        """The best validation mAP50-95, MACs, latency, and the score made of them."""
        if self.threads:
            torch.set_num_threads(self.threads)
        data = read_detection_data(self.data)
        torch.manual_seed(self.settings.seed)
        detector = FoundArchitecture(self.space, choices).detector(data.names)
        shape = (3, self.settings.side, self.settings.side)
        plain = FoundArchitecture(self.space, plain_choices(self.space)).detector(data.names)
        costs = [count_torch_cost(model, shape).macs for model in (detector, plain)]
        latencies = [
            latency.median_ms for latency in measure_torch_latency([detector, plain], shape, 10, 2)
        ]

        def on_epoch(row: dict[str, float], best: bool) -> None:
            if "val_map" in row:
                report(row["val_map"])

        result = train_detector(detector, data, self.settings, on_epoch=on_epoch)
        pairs = {"map": (1.0, 1.0), "macs": costs, "latency": latencies}
        own, reference = pairs[self.objective]
        return {
            "score": cost_objective(result.best_map, own, reference, self.weight, self.budget),
            "map": result.best_map,
            "map50": max(row.get("val_map50", 0.0) for row in result.history),
            "macs": float(costs[0]),
            "latency_ms": latencies[0],
        }
