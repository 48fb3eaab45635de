"""make bench-forms: latency and file size of each form of a U-Net on LiteRT's CPU kernels.

The forms: dense, with unstructured and 2:4 zeros (files dense and sparsely encoded), and with fewer
channels (half and a quarter of the MACs), each in float32 and int8, timed in turn on one thread.
Latency does not depend on the values of the weights, so they are random; docs/measurements.md has
what each form costs in quality.

About 1 minute on two cores: 60 runs of each of 14 files. TFCOMPRESS_AMX=0 measures without Intel's
AMX.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from benchmarks.record import show
from experiments.common.program import run_experiment
from models.unet import multi_unet_model
from tfcompress.evaluation.latency import WITH_AMX, measure_latency
from tfcompress.litert.model import to_litert
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    patch: int = 128
    """Width and height of the images, in pixels."""
    repeats: int = 60
    """Number of timed runs of each file, in turn."""
    record: bool = False
    """Write benchmarks/records/forms.json; forms_amx.json where LiteRT used AMX."""


def main(config: Config) -> tuple[Table, ...]:
    """Convert every form, time the files in turn and print one table."""
    start = Start.now()
    keras.utils.set_random_seed(0)
    dense = multi_unet_model(4, config.patch, config.patch, 1)
    models = {
        "dense": dense,
        "80 % zeros": _pruned(dense, 0.8, "unstructured"),
        "2:4 zeros": _pruned(dense, 0.5, "2:4"),
        "half the MACs": shrink(dense, plan_channels(dense, ChannelConfig(target_macs=0.5))),
        "a quarter": shrink(dense, plan_channels(dense, ChannelConfig(target_macs=0.25))),
    }
    images = np.random.default_rng(0).random((32, *dense.input_shape[1:]), dtype=np.float32)
    files: dict[tuple[str, str], Any] = {}
    for format in ("float32", "int8"):
        for name, model in models.items():
            calibration = images if format == "int8" else None
            files[name, format] = to_litert(model, format, calibration, sparse_encoding=False)
            if "zeros" in name:
                encoded = to_litert(model, format, calibration, sparse_encoding=True)
                files[f"{name}, sparsely encoded", format] = encoded
    times = measure_latency(list(files.values()), repeats=config.repeats)
    runtime = times[0].runtime
    columns = ("form", "number format", "file", "median", "p90", "speed")
    table = Table(columns, title=f"Forms of a U-Net, {runtime}")
    first = times[0].median_ms
    for ((name, format), lite), time in zip(files.items(), times, strict=True):
        table.add(
            name,
            format,
            f"{lite.size_bytes / 1e6:.2f} MB",
            f"{time.median_ms:.2f} ms",
            f"{time.p90_ms:.2f} ms",
            f"{first / time.median_ms:.2f}x",
        )
    table.note(f"one thread, batch 1, {config.patch} pixels, {config.repeats} rounds in turn")
    return show(start, "forms_amx" if WITH_AMX in runtime else "forms", config, table)


def _pruned(dense: Any, sparsity: float, granularity: str) -> Any:
    model = keras.models.clone_model(dense)
    model.set_weights(dense.get_weights())
    entry = {"sparsity": sparsity, "op_types": ["default"]}
    LevelPruner(model, [entry], granularity=granularity).compress()
    return model


if __name__ == "__main__":
    run_experiment(Config, main, {"patch": 32, "repeats": 3})
