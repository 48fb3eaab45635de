"""make bench-growth: how the time of analysis, planning, masks, shrinking and conversion grows.

U-Nets with the same layers and growing width, 0.1 to 31 million parameters. Aim: at most linear, so
a slope of at most 1 between the logarithms of time and parameters, from the second size on.

About 1.5 minutes on two cores: 4 sizes, 1 round. ARGS="--widths 4 12 36 64 116" adds 102 million
parameters, and three minutes.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from benchmarks.alternate import time_in_turn
from benchmarks.record import show
from experiments.common.program import run_experiment
from models.unet import multi_unet_model
from tfcompress.litert.model import to_litert
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.trace.groups import find_groups
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    widths: tuple[int, ...] = (4, 12, 36, 64)
    """Numbers of channels of the first level; the others have 2, 4, 8 and 16 times as many."""
    patch: int = 32
    """Width and height of the images, in pixels."""
    repeats: int = 1
    """Number of runs of each task, of which the fastest counts."""
    record: bool = False
    """Write benchmarks/records/growth.json."""


def main(config: Config) -> tuple[Table, ...]:
    """Measure every width and print one table."""
    start = Start.now()
    sizes: list[int] = []
    seconds: dict[str, list[float]] = {}
    for width in config.widths:
        parameters, found = measured(width, config)
        sizes.append(parameters)
        for name, value in found.items():
            seconds.setdefault(name, []).append(value)
    columns = [f"{size / 1e6:.1f} M" for size in sizes]
    table = Table(("seconds of", *columns, "slope"), title="Cost against parameters")
    for name, values in seconds.items():
        cells = [f"{value:.3f}" for value in values]
        table.add(name, *cells, f"{slope(sizes[1:], values[1:]):.2f}")
    table.note(
        f"the fastest of {config.repeats} run(s); U-Nets of {config.patch} pixels, equally deep"
    )
    table.note("slope: least squares between the logarithms, from the second size on; 1 is linear")
    return show(start, "growth", config, table)


def slope(sizes: list[int], seconds: list[float]) -> float:
    """Exponent with which the time grows with the number of parameters."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measured(width: int, config: Config) -> tuple[int, dict[str, float]]:
    """Number of parameters of a U-Net, and the fastest time of each task on it, in seconds."""
    filters = tuple(width * 2**level for level in range(5))
    model = multi_unet_model(6, config.patch, config.patch, 3, filters)
    generator = np.random.default_rng(0)
    images = generator.random((16, config.patch, config.patch, 3), dtype=np.float32)
    plan = plan_channels(model, ChannelConfig(target_macs=0.5))

    def masks() -> None:
        LevelPruner(keras.models.clone_model(model), [{"sparsity": 0.8}]).compress()

    works: dict[str, Callable[[], Any]] = {
        "groups (analysis)": lambda: find_groups(model),
        "plan to half the MACs": lambda: plan_channels(model, ChannelConfig(target_macs=0.5)),
        "shrink": lambda: shrink(model, plan),
        "clone and masks, 80 %": masks,
        "LiteRT float32": lambda: to_litert(model, "float32"),
        "LiteRT int8, 16 images": lambda: to_litert(model, "int8", images),
    }
    times = time_in_turn(works, config.repeats, f"{width} channels")
    found = {name: float(seconds.min()) for name, seconds in times.items()}
    keras.backend.clear_session()
    gc.collect()
    return model.count_params(), found


if __name__ == "__main__":
    run_experiment(Config, main, {"widths": (4, 8, 12)})
