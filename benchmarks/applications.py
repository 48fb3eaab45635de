"""make bench-applications: channel pruning of every keras.applications model, checked and timed.

Each constructor (weights=None) gets random weights and statistics and a plan that removes 30 % of
its MACs, and is shrunk. The result must equal the masked original to 1e-5 (`masked_reference`),
save, reload with equal outputs, and take a training step. ARGS=--segmentation does the same for
U-Net, FPN, LinkNet and PSPNet of segmentation_models on six backbones.

Not part of `make bench`: forty models, each in a process of its own, take long. ARGS="--models
VGG16" checks one.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import inspect
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tyro

from benchmarks.record import show
from models.backbones import segmentation_model
from tests.pruning.channels.masked_reference import masked_outputs, randomize
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.saving import save_plain
from tfcompress.isolation.process import Ask, IsolatedCall, ProcessEnded, sendable
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.cost import ChannelCost
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.trace.groups import ChannelGraph, find_groups
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table

BACKBONES = ("resnet18", "resnet50", "mobilenetv2", "efficientnetb0", "vgg16", "inceptionv3")
ARCHITECTURES = ("Unet", "FPN", "Linknet", "PSPNet")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Check channel pruning on well-known models."""

    models: tuple[str, ...] = ()
    """Names to check; default all."""
    segmentation: bool = False
    """The segmentation_models zoo instead of keras.applications."""
    kept: float = 0.7
    """Share of the MACs to keep."""
    record: bool = False
    """Write benchmarks/records/applications.json (segmentation.json with `segmentation`)."""


@dataclass(frozen=True)
class Row:
    """Result of one model."""

    name: str
    free: float = 0.0
    least: float = 0.0
    kept: float = 0.0
    error: float = float("nan")
    plan_seconds: float = 0.0
    shrink_seconds: float = 0.0
    result: str = "ok"


def main(config: Config) -> int:
    """Check the models.

    Args:
        config: What to check.

    Returns:
        Number of models that failed.
    """
    start = Start.now()
    makers = _makers(config.segmentation)
    unknown = set(config.models) - set(makers)
    if unknown:
        raise SystemExit(f"error: unknown model {unknown.pop()!r}; use {', '.join(makers)}")
    rows = []
    for name in makers:
        if config.models and name not in config.models:
            continue
        row = _in_own_process(name, config)
        rows.append(row)
        print(
            f"{row.name:<24} {row.result:<4} kept {row.kept:.4f}  error {row.error:.1e}  "
            f"plan {row.plan_seconds:.1f} s  shrink {row.shrink_seconds:.1f} s",
            flush=True,
        )
    name = "segmentation" if config.segmentation else "applications"
    show(start, name, config, _table(rows, config.kept))
    failed = sum(row.result != "ok" for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} passed")
    return failed


def _makers(segmentation: bool) -> dict[str, Callable[[], Any]]:
    return dict(segmentation_makers() if segmentation else application_makers())


def _in_own_process(name: str, config: Config) -> Row:
    """Check a model in its own process: its memory is freed, and a crash ends only this one."""
    content = sendable((name, config.segmentation, config.kept), "model", "name one of the list")
    with IsolatedCall(_check_named, content, name=name) as call:
        try:
            return call.result()
        except ProcessEnded as ended:
            return Row(name, result=f"{ended} (out of memory?)")


def _check_named(content: tuple[str, bool, float], ask: Ask) -> Row:
    name, segmentation, kept = content
    return check_model(name, _makers(segmentation)[name], kept)


def application_makers() -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, constructor) of every keras.applications model, without weights."""
    for name, function in vars(keras.applications).items():
        if inspect.isfunction(function):
            size = {"MobileNetV3Small": 224, "MobileNetV3Large": 224}.get(name)
            more = {"input_shape": (size, size, 3)} if size else {}
            yield (
                name,
                lambda function=function, more=more: function(
                    weights=None, classifier_activation=None, **more
                ),
            )


def segmentation_makers() -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, constructor) of segmentation_models' architectures on six backbones."""
    for architecture in ARCHITECTURES:
        for backbone in BACKBONES:
            size = 96 if architecture == "PSPNet" else 128
            if backbone == "inceptionv3":
                size = 192 if architecture == "PSPNet" else 128
            shape = (size, size, 3)
            yield (
                f"{architecture}-{backbone}",
                partial(segmentation_model, architecture, backbone, shape, 4),
            )


def check_model(name: str, make: Callable[[], Any], kept: float) -> Row:
    """Plan, shrink, compare with the masked original, save, reload, train a step."""
    try:
        model = make()
        randomize(model)
        started = time.perf_counter()
        config = ChannelConfig(
            target_macs=kept,
            min_kept=0.05,  # one unlike group must not bar the target; ChannelOptions has 0.1
        )
        plan = plan_channels(model, config)
        planned = time.perf_counter()
        small = shrink(model, plan)
        done = time.perf_counter()
        graph = find_groups(model)
        removed = graph.removed({group.name: group.kept for group in plan.groups})
        generator = np.random.default_rng(1)
        x = generator.random((1, *model.input_shape[1:]), dtype=np.float32)
        wanted = masked_outputs(model, removed, x)[0]
        got = np.asarray(small(x, training=False))
        scale = np.abs(wanted).max()
        error = float(np.abs(got - wanted).max() / scale)
        changed = float(np.abs(np.asarray(model(x, training=False)) - wanted).max() / scale)
        before, after = count_cost(model).macs, count_cost(small).macs
        result = "ok"
        if not error <= 1e-5:
            result = "differs from the masked model"
        elif not changed >= 1e-3:
            result = "masking changes nothing, so equality shows nothing"
        elif abs(after / before / kept - 1) > 0.02:
            result = "misses the target"
        elif after != plan.macs[1]:
            result = "MACs are not those of the plan"
        else:
            result = _usable(small, x, got)
        return Row(
            name,
            graph.free_share,
            _least(graph),
            after / before,
            error,
            planned - started,
            done - planned,
            result,
        )
    except Exception as error:  # one model must not end the sweep
        return Row(name, result=f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")


def _usable(small: Any, x: np.ndarray, got: np.ndarray) -> str:
    """Save, reload, train one step."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.keras"
        save_plain(small, path, training_state=False)
        again = keras.saving.load_model(path)
    if np.abs(np.asarray(again(x, training=False)) - got).max() > 1e-5 * max(1, np.abs(got).max()):
        return "differs after reloading"
    again.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
    before = [np.array(v) for v in again.trainable_variables[:1]]
    again.train_on_batch(x, np.zeros_like(got))
    if np.array_equal(before[0], np.asarray(again.trainable_variables[0])):
        return "does not train"
    return "ok"


def _least(graph: ChannelGraph) -> float:
    """Share of the MACs that stays if every free group keeps one unit."""
    cost = ChannelCost(graph)
    kept = {}
    for group in graph.groups:
        locked = np.flatnonzero(group.locked)
        kept[group.name] = locked if len(locked) else np.array([0])
    whole = graph.keep({})
    return cost.macs(graph.keep(kept)) / cost.macs(whole)


def _table(rows: list[Row], kept: float) -> Table:
    table = Table(
        ("model", "channels free", "least MACs", "MACs kept", "error", "plan", "shrink", "result"),
        title=f"Channel pruning to {kept:.0%} of the MACs against the masked original",
    )
    for row in rows:
        table.add(
            row.name,
            f"{row.free:.1%}",
            f"{row.least:.1%}",
            f"{row.kept:.2%}",
            f"{row.error:.1e}",
            f"{row.plan_seconds:.1f} s",
            f"{row.shrink_seconds:.1f} s",
            row.result,
        )
    table.note("least MACs: share that stays when every free group keeps one unit")
    return table


if __name__ == "__main__":
    raise SystemExit(min(1, main(tyro.cli(Config, description=__doc__))))
