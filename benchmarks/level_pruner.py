"""make bench-level-pruner: LevelPruner's cost beside plain training and beside TFMOT, as ratios.

1. An epoch of `fit` with masks held over a plain epoch (Keras 3 U-Net). Aim: at most 1.03.
2. The same epoch on the tf_keras U-Net over one with TFMOT's pruning wrappers, both updating their
   masks every 100 steps (aim: at most 0.95) and every step (aim: at most 0.5).
3. `compress()` on ResNet50 and VGG16 over TFMOT's mask computation for the same sparsity (aim: at
   most 0.5).

About 6.5 minutes on two cores: 10 rounds of an epoch of 20 steps, 2 rounds of masks. ARGS="--rounds
40 --compress-rounds 5" is the full size, with narrower quartiles, and takes about three times as
long.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from benchmarks.alternate import Ratio, ratio, time_in_turn
from benchmarks.record import show
from experiments.common.program import run_experiment
from models.unet import multi_unet_model
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Constant
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table
from tfcompress.twin.legacy import load_tfmot

DEFAULT = [{"sparsity": 0.8, "op_types": ["default"]}]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    patch: int = 64
    """Width and height of the images, in pixels."""
    patches: int = 160
    """Number of images in an epoch."""
    batch: int = 8
    """Batch size."""
    rounds: int = 10
    """Number of epochs of each contender, in turn."""
    compress_rounds: int = 2
    """Number of times that each contender masks a whole network, in turn."""
    networks: tuple[str, ...] = ("ResNet50", "VGG16")
    """Networks of `tf_keras.applications` to mask."""
    record: bool = False
    """Write benchmarks/records/level_pruner.json."""


def main(config: Config) -> tuple[Table, ...]:
    """Measure all three parts and print one table."""
    start = Start.now()
    table = Table(("measured", "ratio (quartiles)", "aim", "met"), title="LevelPruner, as ratios")

    def row(what: str, value: Ratio, aim: float) -> None:
        table.add(what, str(value), f"{aim:.2f}", "yes" if value.median <= aim else "no")

    row("fit, Keras 3: masks held / plain", keras_fit(config), 1.03)
    for frequency, aim in ((100, 0.95), (1, 0.5)):
        plain, peer = tf_keras_fit(config, frequency)
        note = f"masks updated every {frequency} step{'s' if frequency > 1 else ''}"
        row(f"fit, tf_keras, {note}: ours / TFMOT", peer, aim)
        table.note(f"ours / plain at {note}: {plain}")
    for name in config.networks:
        row(f"compress(), {name}: ours / TFMOT", compress(name, config.compress_rounds), 0.5)
    table.note(f"{config.rounds} rounds in turn; medians of the rounds' ratios")
    return show(start, "level_pruner", config, table)


def keras_fit(config: Config) -> Ratio:
    """An epoch with masks held over a plain epoch."""
    plain, pruned = (_unet("keras", config) for _ in range(2))
    LevelPruner(pruned, DEFAULT).compress()
    times = time_in_turn(
        {"plain": _epoch(plain, config), "ours": _epoch(pruned, config)}, config.rounds, "fit"
    )
    return ratio(times["ours"], times["plain"])


def tf_keras_fit(config: Config, frequency: int) -> tuple[Ratio, Ratio]:
    """Ours over plain and ours over TFMOT, both updating masks every `frequency` steps."""
    tfmot = load_tfmot()
    plain, pruned, dense = (_unet("tf_keras", config) for _ in range(3))
    pruner = LevelPruner(pruned, DEFAULT, schedule=Constant(0, frequency=frequency))
    pruner.compress()
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.8, begin_step=0, frequency=frequency)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(dense, pruning_schedule=schedule)
    _compile(wrapped)
    update = tfmot.sparsity.keras.UpdatePruningStep()
    times = time_in_turn(
        {
            "plain": _epoch(plain, config),
            "ours": _epoch(pruned, config, [pruner.callback()]),
            "tfmot": _epoch(wrapped, config, [update]),
        },
        config.rounds,
        f"fit with masks updated every {frequency}",
    )
    return ratio(times["ours"], times["plain"]), ratio(times["ours"], times["tfmot"])


def compress(name: str, rounds: int) -> Ratio:
    """Time of `compress()` over the time that TFMOT takes to mask the same kernels once."""
    tfmot = load_tfmot()
    model = getattr(tf_keras.applications, name)(weights=None)
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.8, begin_step=0, frequency=1)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(
        tf_keras.models.clone_model(model), pruning_schedule=schedule
    )
    wrappers = [layer for layer in wrapped.layers if hasattr(layer, "pruning_obj")]
    kinds = sorted({type(layer.layer).__name__ for layer in wrappers if layer.pruning_vars})
    names = [
        layer.layer.name
        for layer in wrappers
        if layer.pruning_vars and type(layer.layer).__name__ != "DepthwiseConv2D"
    ]
    pruner = LevelPruner(model, [{"sparsity": 0.8, "op_names": names}])

    def theirs() -> None:
        for wrapper in wrappers:
            wrapper.pruning_step.assign(0)
            wrapper.pruning_obj.conditional_mask_update()
            wrapper.pruning_obj.weight_mask_op()

    times = time_in_turn(
        {"ours": pruner.compress, "tfmot": theirs}, rounds, f"compress {name} ({', '.join(kinds)})"
    )
    _check_same_zeros(pruner, wrappers)
    del model, wrapped, pruner
    gc.collect()
    return ratio(times["ours"], times["tfmot"])


def _check_same_zeros(pruner: LevelPruner, wrappers: list[Any]) -> None:
    """Check that both made the same share of zeros; otherwise the ratio means nothing."""
    sizes = [np.asarray(mask) for w in wrappers for _, mask, _ in w.pruning_vars]
    theirs = sum(int(mask.size - np.count_nonzero(mask)) for mask in sizes)
    share = theirs / sum(mask.size for mask in sizes)
    if abs(share - pruner.report().sparsity) > 1e-3:
        raise RuntimeError(f"TFMOT made {share:.4f} zeros, ours {pruner.report().sparsity:.4f}")


def _unet(flavor: str, config: Config) -> Any:
    model = multi_unet_model(6, config.patch, config.patch, 3, flavor=flavor)
    _compile(model)
    return model


def _compile(model: Any) -> None:
    model.compile("adam", "sparse_categorical_crossentropy")


def _epoch(model: Any, config: Config, callbacks: list[Any] | None = None) -> Callable[[], object]:
    """One epoch of `fit`, traced and warmed up."""
    generator = np.random.default_rng(0)
    shape = (config.patches, config.patch, config.patch)
    x = generator.random((*shape, 3), dtype=np.float32)
    y = generator.integers(0, 6, shape)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(config.batch).cache()

    def epoch() -> None:
        model.fit(data, epochs=1, verbose=0, callbacks=callbacks, shuffle=False)

    epoch()
    return epoch


if __name__ == "__main__":
    run_experiment(Config, main, {"patches": 32, "rounds": 3, "networks": ()})
