"""make bench-channels: time and memory of channel pruning, and whether latency targets hold.

1. ResNet152: seconds to find groups, plan and shrink, and peak memory over the model's own size.
   Aims: under 20 s, under 3 times the model.
2. U-Nets planned to shares of their measured LiteRT latency, shrunk, converted and measured again
   in turn with the whole U-Net. Aim: within 10 % of the target.

About 3 minutes on two cores: 4 targets, 40 runs of each candidate. ARGS="--repeats 200" is for a
noisy machine.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.record import show
from experiments.common.program import run_experiment
from models.unet import multi_unet_model
from tfcompress.evaluation.latency import measure_latency
from tfcompress.litert.model import to_litert
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.trace.groups import find_groups
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    patch: int = 128
    """Width and height of the images, in pixels."""
    shares: tuple[float, ...] = (0.7, 0.4)
    """Latency targets, as shares of the whole U-Net's latency."""
    repeats: int = 40
    """Number of timed runs of each candidate; the final check takes three times as many."""
    record: bool = False
    """Write benchmarks/records/channel_pruning.json."""


def main(config: Config) -> tuple[Table, ...]:
    """Measure and print one table."""
    start = Start.now()
    table = Table(("measured", "value", "aim", "met"), title="Channel pruning")
    seconds, memory = resnet152()
    table.add("ResNet152: groups, plan, shrink", f"{seconds:.1f} s", "20 s", _met(seconds < 20))
    table.add("ResNet152: peak memory / model", f"{memory:.2f}x", "3.00x", _met(memory < 3))
    for format in ("float32", "int8"):
        for share in config.shares:
            wanted, reached, macs = latency_target(config, format, share)
            table.add(
                f"U-Net {format}, target {share:.0%} of its latency ({macs:.0%} of the MACs)",
                f"{reached / wanted:.2f}x",
                "0.90x to 1.10x",
                _met(abs(reached / wanted - 1) <= 0.1),
            )
    table.note("latency: measured again after planning, in turn with the whole model; medians")
    return show(start, "channel_pruning", config, table)


def resnet152() -> tuple[float, float]:
    """Seconds to find groups, plan and shrink, and the peak memory over the model's size."""
    model = keras.applications.ResNet152(weights=None)
    size = 4 * model.count_params()
    gc.collect()
    with _peak_memory() as peak:
        started = time.perf_counter()
        find_groups(model)
        shrink(model, plan_channels(model, ChannelConfig(target_macs=0.5)))
        seconds = time.perf_counter() - started
    return seconds, peak[0] / size


def latency_target(config: Config, format: str, share: float) -> tuple[float, float, float]:
    """Plan, shrink and measure again: (target ms, measured ms, share of the MACs that stays).

    The machine's speed drifts: the wanted time is that share of the whole model's time as measured
    again, in turn with the small one.
    """
    model = multi_unet_model(4, config.patch, config.patch, 1)
    calibration = np.random.default_rng(0).random((32, *model.input_shape[1:]), dtype=np.float32)

    def converted(candidate: Any) -> Any:
        return to_litert(candidate, format, calibration if format == "int8" else None)

    def milliseconds(candidate: Any) -> float:
        return measure_latency([converted(candidate)], repeats=config.repeats)[0].median_ms

    pruning = ChannelConfig(
        target_latency_ms=share * milliseconds(model),
        round_to=4,  # a vector of XNNPACK's float32 kernels holds 4; ChannelOptions has 1
    )
    plan = plan_channels(model, pruning, measure=milliseconds)
    pair = [converted(model), converted(shrink(model, plan))]
    whole, small = (t.median_ms for t in measure_latency(pair, repeats=3 * config.repeats))
    return share * whole, small, plan.macs[1] / plan.macs[0]


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Peak of the resident memory above its value at the start, in bytes."""
    peak, running = [0], True
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    start = resident()

    def watch() -> None:
        while running:
            peak[0] = max(peak[0], resident() - start)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        running = False
        thread.join()


def _met(condition: bool) -> str:
    return "yes" if condition else "no"


if __name__ == "__main__":
    run_experiment(Config, main, {"patch": 64, "repeats": 3, "shares": (0.7,)})
