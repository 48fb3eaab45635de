"""Compare several models in one table: cost, size, latency and quality.

```python
print(compare(dense, pruned, lite, data=(images, labels), names=["dense", "pruned", "int8"]))
```

Every number is measured on the finished model: zeros are counted in its weights or in the LiteRT
bytes, sizes are those of files, and quality is computed from the model's own predictions.
"""

from __future__ import annotations

import gzip
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.evaluation.bootstrap import Difference, paired_difference
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.latency import WITH_AMX, Latency, measure_latency
from tfcompress.evaluation.memory import measure_memory
from tfcompress.evaluation.segmentation import (
    accuracy,
    confusion_matrices,
    iou_per_class,
    macro_f1,
    mean_iou,
)
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.graph.saving import save_plain
from tfcompress.litert.cost import count_litert_macs
from tfcompress.litert.model import LiteModel
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Metric = Callable[[np.ndarray], np.ndarray]

# Metrics that are reported for each kind of task, the objective first, from confusion matrices.
METRICS: dict[str, dict[str, Metric]] = {
    "segmentation": {"mean_iou": mean_iou, "accuracy": accuracy},
    "classification": {"macro_f1": macro_f1, "accuracy": accuracy},
}
_TITLES = {"mean_iou": "mIoU", "accuracy": "accuracy", "macro_f1": "macro F1"}
# What a narrow terminal does without, first to last: the name, the file, the speed, the objective
# and its difference always stay.
_LEFT_OUT = ("memory", "gzip", "format", "zeros", "MACs", "accuracy", "latency")


@short_repr
@dataclass(frozen=True)
class ModelRow:
    """One model of a comparison.

    Attributes:
        name: Name of the model in the tables.
        format: Framework and number format, such as "Keras float32" or "LiteRT int8".
        weights: Number of kernel weights (the dense size, even if they are stored sparsely).
        zeros: Number of kernel weights that are zero.
        macs: Multiply-accumulates for one sample; None if they cannot be counted.
        size_bytes: Size of the model's file in bytes, without optimizer state.
        gzip_bytes: Size of the file after gzip, in bytes.
        latency: Latency with batch size 1 (LiteRT: the file's batch size); None if not measured.
        quality: Metric values by name; empty without data.
        differences: Metrics minus those of the first model, with bootstrap intervals, by name.
        iou: IoU of each class; empty for classification and without data.
        memory_bytes: Peak memory of a LiteRT file in bytes; None if not measured.
    """

    name: str
    format: str
    weights: int
    zeros: int
    macs: int | None
    size_bytes: int
    gzip_bytes: int
    latency: Latency | None
    quality: dict[str, float]
    differences: dict[str, Difference]
    iou: tuple[float, ...]
    memory_bytes: int | None = None

    @property
    def sparsity(self) -> float:
        """Share of the kernel weights that are zero."""
        return self.zeros / self.weights if self.weights else 0.0


@short_repr
@dataclass(frozen=True)
class Comparison:
    """Several models in one table; differences are relative to the first, the baseline.

    Attributes:
        rows: Measurements, one row per model.
        classes: Names of the classes, for the per-class table.
        samples: Number of samples that the quality was computed on; 0 without data.
    """

    rows: tuple[ModelRow, ...]
    classes: tuple[str, ...]
    samples: int

    @property
    def best(self) -> ModelRow | None:
        """The row with the best objective, the smaller file among equals; None without data."""
        if not self.rows[0].quality:
            return None
        metric = next(iter(self.rows[0].quality))
        return max(self.rows, key=lambda row: (row.quality[metric], -row.gzip_bytes))

    @property
    def smallest_as_good(self) -> ModelRow | None:
        """The smallest file (after gzip) that is not significantly worse than the first model.

        Not significantly worse: the interval of the objective's difference reaches 0 or above. The
        first model itself counts, so that there is such a row wherever there is data.
        """
        if not self.rows[0].quality:
            return None
        metric = next(iter(self.rows[0].quality))
        good = [
            row
            for row in self.rows
            if metric not in row.differences or row.differences[metric].high >= 0
        ]
        return min(good, key=lambda row: row.gzip_bytes)

    def to_dict(self) -> dict[str, Any]:
        """The comparison for JSON."""
        return {
            "rows": [{**asdict(row), "sparsity": row.sparsity} for row in self.rows],
            "classes": list(self.classes),
            "samples": self.samples,
        }

    def table(self) -> Table:
        """Cost and quality as a table."""
        metrics = list(self.rows[0].quality)
        base = self.rows[0]
        columns = ["model", "format", "zeros", "MACs", "file", "gzip"]
        columns += ["latency", "speed"] if base.latency else []
        with_memory = any(row.memory_bytes is not None for row in self.rows)
        columns += ["memory"] if with_memory else []
        columns += [_TITLES.get(metric, metric) for metric in metrics]
        columns += [f"{_TITLES.get(metrics[0], metrics[0])} vs first"] if metrics else []
        table = Table(columns, title="Comparison, measured on the finished models", drop=_LEFT_OUT)
        for row in self.rows:
            cells = [row.name, row.format, f"{row.sparsity:.1%}", _giga(row.macs)]
            cells += [_bytes(row.size_bytes), _bytes(row.gzip_bytes)]
            if base.latency and row.latency:
                ratio = base.latency.median_ms / row.latency.median_ms
                cells += [_milliseconds(row.latency.median_ms), f"{ratio:.2f}x"]
            if with_memory:
                cells.append("–" if row.memory_bytes is None else _bytes(row.memory_bytes))
            cells += [f"{row.quality[metric]:.4f}" for metric in metrics]
            if metrics:
                cells.append(_signed(row.differences.get(metrics[0])))
            table.add(*cells)
        if base.latency:
            runtimes = dict.fromkeys(
                f"{row.latency.runtime}, {row.latency.threads} thread(s)"
                for row in self.rows
                if row.latency
            )
            table.note(f"latency: median of batch 1; {'; '.join(runtimes)}")
            if any(WITH_AMX in runtime for runtime in runtimes):
                table.note(
                    "with AMX, int8 is slow in layers of few channels; TFCOMPRESS_AMX=0 disables it"
                )
        if with_memory:
            table.note("memory: peak of loading the LiteRT file and running one inference")
        if metrics:
            table.note(
                f"quality on {self.samples} samples; brackets: 95 % paired bootstrap interval"
            )
        return table

    def class_table(self) -> Table:
        """IoU of each class as a table."""
        table = Table(("model", *self.classes), title="IoU of each class")
        for row in self.rows:
            table.add(row.name, *("–" if math.isnan(v) else f"{v:.3f}" for v in row.iou))
        return table

    def __str__(self) -> str:
        text = str(self.table())
        return f"{text}\n\n{self.class_table()}" if any(row.iou for row in self.rows) else text


def compare(
    *models: Any,
    data: Any = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    latency: bool = True,
    memory: bool = True,
    threads: int = 1,
    repeats: int = 30,
    predictions: Sequence[np.ndarray] | None = None,
) -> Comparison:
    """Measure several models on the same data; the first is the baseline.

    Args:
        *models: Keras 3 or tf_keras models and `LiteModel`s, in any mix.
        data: Tuple `(inputs, labels)` of arrays, or a `tf.data.Dataset` of such batches. Labels are
            class indices or one-hot; the index 255 is ignored. None leaves quality out.
        names: Names of the models, one each; by default their position and own name.
        classes: Names of the classes; "class 0", "class 1", ... by default.
        latency: Whether to measure latency.
        memory: Whether to measure the peak memory of LiteRT files, each in a process of its own
            (half a second per file; Linux only).
        threads: Number of LiteRT threads.
        repeats: Number of timed runs of each model.
        predictions: Outputs of each model on the data, if they were computed already.

    Returns:
        The comparison, which prints as a table.

    Raises:
        ConfigError: No model is given, or the number of names or classes does not match.
        DataError: The data are empty, or the labels do not match the predictions.
    """
    if not models:
        raise ConfigError("compare", "no model is given", "pass at least one")
    names = list(names) if names is not None else _default_names(models)
    if len(names) != len(models):
        raise ConfigError(
            "names", f"{len(names)} names for {len(models)} models", "give one per model"
        )
    times: list[Any] = [None] * len(models)
    if latency:
        times = list(measure_latency(models, repeats=repeats, threads=threads))
    confusions, metrics, samples = _quality(models, data, predictions)
    rows = []
    for i, model in enumerate(models):
        zeros = total_zeros(model)
        size, packed = _file_sizes(model)
        counts = confusions[i] if confusions else None
        rows.append(
            ModelRow(
                name=names[i],
                format=_format_of(model),
                weights=zeros.weights,
                zeros=zeros.zeros,
                macs=_macs_of(model),
                size_bytes=size,
                gzip_bytes=packed,
                latency=times[i],
                quality={}
                if counts is None
                else {name: float(metric(counts.sum(axis=0))) for name, metric in metrics.items()},
                differences={}
                if counts is None or i == 0
                else {
                    name: paired_difference(metric, counts, confusions[0])
                    for name, metric in metrics.items()
                },
                iou=tuple(float(v) for v in iou_per_class(counts.sum(axis=0)))
                if counts is not None and "mean_iou" in metrics
                else (),
                memory_bytes=measure_memory(model, threads)
                if memory and isinstance(model, LiteModel)
                else None,
            )
        )
    n_classes = confusions[0].shape[-1] if confusions else 0
    labels = tuple(classes or (f"class {i}" for i in range(n_classes)))
    if confusions and len(labels) != n_classes:
        raise ConfigError(
            "classes", f"{len(labels)} names for {n_classes} classes", "give one per class"
        )
    return Comparison(tuple(rows), labels, samples)


def predict(model: Any, inputs: np.ndarray, batch: int = 16) -> np.ndarray:
    """Predict with a Keras model or a `LiteModel`.

    Args:
        model: Keras model or `LiteModel`.
        inputs: Samples `(N, ...)`, for any N.
        batch: Batch size of Keras models.

    Returns:
        Outputs `(N, ...)`.
    """
    if isinstance(model, LiteModel):
        return model.predict(inputs)
    return np.asarray(model.predict(inputs, batch_size=batch, verbose=0))


def _quality(
    models: Sequence[Any], data: Any, predictions: Sequence[np.ndarray] | None
) -> tuple[list[np.ndarray], dict[str, Metric], int]:
    """Each model's confusion matrices per sample, the metrics, and the number of samples."""
    if data is None:
        return [], {}, 0
    inputs, labels = _arrays(data)
    outputs = predictions or [predict(model, inputs) for model in models]
    n_classes = outputs[0].shape[-1]
    if labels.shape == outputs[0].shape:
        labels = labels.argmax(axis=-1)
    elif labels.ndim == outputs[0].ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    task = "classification" if outputs[0].ndim == 2 else "segmentation"
    for output in outputs:
        if output.shape != (*labels.shape, n_classes):
            raise DataError(
                "data",
                f"labels of shape {labels.shape} do not match predictions of shape {output.shape}",
                "give class indices of the predictions' size",
            )
    confusions = [confusion_matrices(labels, out.argmax(axis=-1), n_classes) for out in outputs]
    return confusions, METRICS[task], len(labels)


def _arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, tuple):
        return np.asarray(data[0]), np.asarray(data[1])
    batches = [(np.asarray(element[0]), np.asarray(element[1])) for element in data]
    if not batches:
        raise DataError(
            "data", "the dataset is empty", "give (inputs, labels) or a tf.data.Dataset"
        )
    return (
        np.concatenate([inputs for inputs, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
    )


def _file_sizes(model: Any) -> tuple[int, int]:
    """Bytes of the model's file, raw and after gzip."""
    if isinstance(model, LiteModel):
        return model.size_bytes, len(gzip.compress(model.content))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        save_plain(model, path, training_state=False)
        content = path.read_bytes()
    return len(content), len(gzip.compress(content))


def _macs_of(model: Any) -> int | None:
    if isinstance(model, LiteModel):
        return count_litert_macs(model.file) // max(1, model.inputs[0].shape[0])
    try:
        cost = count_cost(model)
    except LayerError:
        return None
    return None if cost.uncounted else cost.macs


def _format_of(model: Any) -> str:
    if isinstance(model, LiteModel):
        return f"LiteRT {model.format or model.inputs[0].dtype}"
    policy = getattr(model, "dtype_policy", None)
    return f"Keras {policy.name if policy is not None else model.dtype}"


def _default_names(models: Sequence[Any]) -> list[str]:
    return [
        f"{i + 1}: {'LiteRT' if isinstance(model, LiteModel) else model.name}"
        for i, model in enumerate(models)
    ]


def _giga(macs: int | None) -> str:
    if macs is None:
        return "–"
    return f"{macs / 1e9:.3f} G" if macs >= 1e9 else f"{macs / 1e6:.2f} M"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value >= 0.1 else f"{value:.2g} ms"


def _signed(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
