"""Cost of a PyTorch model: parameters, MACs by fvcore, latency.

A multiplication with its addition is one MAC; BatchNorm, activations and pooling are not counted,
as in the Keras side's `count_cost`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from models.yolov5.fuse import fused
from tfcompress.evaluation.latency import Latency, Runner, measure_latency
from tfcompress.reporting.tables import Table

_COUNTED = ("conv", "linear", "matmul", "addmm", "bmm", "einsum")


@dataclass(frozen=True)
class TorchCost:
    """Size of a model on one input.

    Attributes:
        parameters: Trainable numbers, BatchNorm folded into the convolutions before it.
        macs: Multiply-accumulates per image.
        uncounted: Operators that fvcore has no formula for, and how often they occur.
    """

    parameters: int
    macs: int
    uncounted: tuple[tuple[str, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return {"parameters": self.parameters, "macs": self.macs}


def count_torch_cost(model: nn.Module, shape: Sequence[int] = (3, 640, 640)) -> TorchCost:
    """Parameters and MACs of a model in its deployed form.

    Args:
        model: Model of images (B, C, H, W).
        shape: Image shape (C, H, W).
    """
    deployed = fused(model)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(deployed, torch.zeros(1, *shape))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = analysis.by_operator()
    return TorchCost(
        parameters=sum(p.numel() for p in deployed.parameters()),
        macs=int(sum(n for name, n in by_operator.items() if name in _COUNTED)),
        uncounted=tuple(sorted(analysis.unsupported_ops().items())),
    )


def measure_torch_latency(
    models: Sequence[nn.Module],
    shape: Sequence[int] = (3, 640, 640),
    repeats: int = 30,
    warmup: int = 5,
    threads: int = 1,
) -> list[Latency]:
    """Latency of each model in its deployed form on one image, the models in turn.

    Args:
        models: Models of images (B, C, H, W).
        shape: Image shape (C, H, W).
        repeats: Number of timed rounds.
        warmup: Number of untimed rounds before.
        threads: Number of PyTorch threads during the timing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runners = [torch_runner(model, shape, threads) for model in models]
        return measure_latency(runners, repeats=repeats, warmup=warmup)
    finally:
        torch.set_num_threads(before)


def cost_table(
    names: Sequence[str], costs: Sequence[TorchCost], latencies: Sequence[Latency], title: str = ""
) -> Table:
    """One row per model."""
    table = Table(("model", "parameters", "MACs", "median", "p90"), title=title)
    for name, cost, latency in zip(names, costs, latencies, strict=True):
        table.add(
            name,
            f"{cost.parameters:,}",
            f"{cost.macs:,}",
            f"{latency.median_ms:.1f} ms",
            f"{latency.p90_ms:.1f} ms",
        )
    return table


def torch_runner(model: nn.Module, shape: Sequence[int], threads: int) -> Runner:
    """A model in its deployed form on one random image, ready to be timed.

    Args:
        model: Model of images (B, C, H, W).
        shape: Image shape (C, H, W).
        threads: Number of PyTorch threads during the timing; the caller sets it.
    """
    deployed, image = fused(model), torch.rand(1, *shape)

    def run() -> None:
        with torch.inference_mode():
            deployed(image)

    return Runner(run, threads, 1, "PyTorch")
