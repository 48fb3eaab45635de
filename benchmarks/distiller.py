"""make bench-distiller: time of a distillation step beside its parts and Keras' own distiller.

1. A step of `Distiller` over the sum of its parts, a plain training step of the student and a
   forward pass of the teacher. Teachers: as large as the student, and four times as large. Aim: at
   most 1.0.
2. With features at five levels over `keras.distillation.Distiller`, which runs the student twice:
   at most 0.7. With logits alone both do the same work: at most 1.0. Beside each time stands the
   ratio of the multiply-accumulates in the graphs of both steps.

About 3 minutes on two cores: 10 rounds of 4 steps. ARGS="--rounds 60" is the full size, with
narrower quartiles.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.alternate import Ratio, ratio, time_in_turn
from benchmarks.record import show
from benchmarks.step_macs import step_macs
from experiments.common.program import run_experiment
from models.unet import multi_unet_model
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import Hint, SoftTargets
from tfcompress.evaluation.cost import count_cost
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table

TEACHERS = {"1x": (16, 32, 64), "4x": (32, 64, 128)}
STUDENT = (16, 32, 64)
TAPS = ("down1_b_conv", "down2_b_conv", "bottom_b_conv", "up2_b_conv", "up1_b_conv")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    patch: int = 64
    """Width and height of the images, in pixels."""
    batches: int = 4
    """Number of steps in a round."""
    batch: int = 8
    """Batch size."""
    rounds: int = 10
    """Number of rounds of each contender, in turn."""
    record: bool = False
    """Write benchmarks/records/distiller.json."""


def main(config: Config) -> tuple[Table, ...]:
    """Measure both parts and print one table."""
    start = Start.now()
    table = Table(("measured", "ratio (quartiles)", "aim", "met"), title="Distiller, as ratios")

    def row(what: str, value: Ratio, aim: float) -> None:
        table.add(what, str(value), f"{aim:.2f}", "yes" if value.median <= aim else "no")

    for filters in TEACHERS.values():
        share = _macs(filters, config) / _macs(STUDENT, config)
        row(f"step / its parts, teacher {share:.1f}x", against_parts(filters, config), 1.0)
    for name, filters in TEACHERS.items():
        for what, taps, aim in (("features", TAPS, 0.7), ("logits", (), 1.0)):
            seconds, macs = against_keras(filters, config, taps)
            row(f"{what}, teacher {name}: ours / Keras'", seconds, aim)
            table.add("  multiply-accumulates of the same", f"{macs:.3f}", "", "")
    table.note(f"{config.rounds} rounds of {config.batches} steps in turn; medians of the rounds")
    return show(start, "distiller", config, table)


def against_parts(filters: tuple[int, ...], config: Config) -> Ratio:
    """Distiller steps over plain steps of the student plus forward passes of the teacher."""
    teacher, plain, student = (_unet(f, config) for f in (filters, STUDENT, STUDENT))
    distiller = Distiller(teacher, student, SoftTargets())
    for model in (plain, distiller):
        _compile(model)
    batches = _batches(config)

    @tf.function
    def teach(x: Any) -> Any:
        return tf.reduce_sum(teacher(x, training=False))

    def parts() -> None:
        plain.fit(batches, epochs=1, verbose=0, shuffle=False)
        for x, _ in batches:
            teach(x)

    parts()
    times = time_in_turn(
        {"ours": _epoch(distiller, batches), "parts": parts}, config.rounds, "step"
    )
    return ratio(times["ours"], times["parts"])


def against_keras(
    filters: tuple[int, ...], config: Config, taps: tuple[str, ...]
) -> tuple[Ratio, float]:
    """Our steps over those of `keras.distillation.Distiller` with the same losses: time, MACs."""
    teacher, mine, theirs = (_unet(f, config) for f in (filters, STUDENT, STUDENT))

    def hints() -> list[Any]:  # Keras' own has no adapter, so both get ours
        return [
            Hint(teacher_layer_name=tap, student_layer_name=tap, name=f"hint_{tap}") for tap in taps
        ]

    logits = keras.distillation.LogitsDistillation(3.0, loss=keras.losses.KLDivergence())
    models = {
        "ours": Distiller(teacher, mine, [SoftTargets(3.0), *hints()]),
        "keras": keras.distillation.Distiller(teacher, theirs, [logits, *hints()]),
    }
    batches = _batches(config)
    first = next(iter(batches))
    for model in models.values():
        _compile(model)
    macs = {name: step_macs(model, *first) for name, model in models.items()}
    epochs = {name: _epoch(model, batches) for name, model in models.items()}
    times = time_in_turn(epochs, config.rounds, "distillers")
    return ratio(times["ours"], times["keras"]), macs["ours"] / macs["keras"]


def _unet(filters: tuple[int, ...], config: Config) -> Any:
    return multi_unet_model(4, config.patch, config.patch, 3, filters=filters, batch_norm=True)


def _macs(filters: tuple[int, ...], config: Config) -> int:
    return count_cost(_unet(filters, config)).macs


def _compile(model: Any) -> None:
    model.compile("adam", "sparse_categorical_crossentropy")


def _batches(config: Config) -> Any:
    generator = np.random.default_rng(0)
    shape = (config.batches * config.batch, config.patch, config.patch)
    x = generator.random((*shape, 3), dtype=np.float32)
    y = generator.integers(0, 4, shape)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(config.batch).cache()


def _epoch(model: Any, batches: Any) -> Callable[[], object]:
    """One epoch of `fit`, traced and warmed up."""

    def epoch() -> None:
        model.fit(batches, epochs=1, verbose=0, shuffle=False)

    epoch()
    return epoch


if __name__ == "__main__":
    run_experiment(Config, main, {"batches": 4, "rounds": 3})
