"""TFMOT's weight clustering for Keras 3 models, through a tf_keras twin.

A clustered kernel has few distinct values, so its file compresses well.

```python
result = tfmot_cluster(model, 16, fit=dict(x=images, y=labels, epochs=3))
print(result.report)          # distinct values of each kernel, counted in result.model
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.layers import named_weights
from tfcompress.internals.tfmot import CLUSTER_WEIGHTS, CLUSTERING_REGISTRY, WEIGHTS_OF_LAYERS
from tfcompress.pruning.selection import DEFAULT_TYPES, Target, parse_config_list, select
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr
from tfcompress.twin.legacy import load_tfmot
from tfcompress.twin.training import Train, check_training, train_twin
from tfcompress.twin.twin import Twin, twin_of

Centroids = Literal["kmeans++", "linear", "density", "random"]
_CENTROIDS = {
    "kmeans++": "KMEANS_PLUS_PLUS",
    "linear": "LINEAR",
    "density": "DENSITY_BASED",
    "random": "RANDOM",
}


@dataclass(frozen=True)
class ClusterRow:
    """One clustered weight.

    Attributes:
        path: Layer path.
        role: Name of the weight in its layer.
        weights: Number of values.
        clusters: Requested number of distinct values.
        unique: Actual number of distinct values; if per channel, the largest number in a channel.
        zeros: Number of values that are zero.
        per_channel: Whether each output channel is clustered by itself.
    """

    path: str
    role: str
    weights: int
    clusters: int
    unique: int
    zeros: int
    per_channel: bool


@short_repr
@dataclass(frozen=True)
class ClusterReport:
    """The result of clustering, counted in the finished model.

    Attributes:
        rows: Clustered weights, one per row.
        skipped: Other layers with weights, each as (path, reason).
    """

    rows: tuple[ClusterRow, ...]
    skipped: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        skipped = [{"layer": path, "reason": reason} for path, reason in self.skipped]
        return {"rows": [asdict(row) for row in self.rows], "skipped": skipped}

    def table(self) -> Table:
        """The report as a table."""
        table = Table(
            ("layer", "weight", "weights", "clusters", "distinct values", "zeros"),
            title="Clustering, counted in the model",
        )
        for row in self.rows:
            table.add(
                row.path,
                row.role,
                f"{row.weights:,}",
                f"{row.clusters}",
                f"{row.unique}" + (" per channel" if row.per_channel else ""),
                f"{row.zeros / row.weights:.1%}",
            )
        table.note_skipped(self.skipped)
        return table

    def __str__(self) -> str:
        return str(self.table())


@short_repr
@dataclass(frozen=True)
class TfmotClustered:
    """A clustered model.

    Attributes:
        model: Plain model with the original's flavor and graph, compiled as the original was.
        report: Distinct values, counted in `model`.
        history: History of the last `fit`, by metric.
    """

    model: Any
    report: ClusterReport
    history: dict[str, list[float]]

    def __str__(self) -> str:
        return str(self.report)


def tfmot_cluster(
    model: Any,
    clusters: int = 16,
    config_list: Sequence[Mapping[str, Any]] = (),
    *,
    centroids: Centroids = "kmeans++",
    per_channel: bool = False,
    preserve_sparsity: bool = False,
    train: Train | None = None,
    fit: Mapping[str, Any] | None = None,
    check: bool = True,
) -> TfmotClustered:
    """Cluster the weights of a trained model: fine-tune it so that kernels share few values.

    Args:
        model: Trained functional or Sequential model of either flavor. It is not changed.
        clusters: Number of distinct values per kernel.
        config_list: Layers to cluster: entries with "op_types", "op_names" and "exclude" as in
            `selection.py`, and "clusters" for another number. By default all layers that
            "default" stands for.
        centroids: Method that finds the initial values.
        per_channel: Whether each output channel of a Conv2D has its own values, which int8
            quantization preserves best.
        preserve_sparsity: Whether the zeros of a pruned model stay zero; they use up one cluster.
        train: Function that compiles and fits the given tf_keras model.
        fit: Arguments of `fit`, instead of `train`. The twin is then compiled as `model` is.
        check: Whether to compare the twin's outputs with the model's first.

    Returns:
        The clustered model with its report and training history.

    Raises:
        ConfigError: An argument is invalid, or the compile state cannot be converted to tf_keras.
        LayerError: The model has no graph, a layer cannot be converted, or nothing can be
            clustered.
    """
    entries, numbers = _entries(config_list, clusters, preserve_sparsity)
    if centroids not in _CENTROIDS:
        raise ConfigError("centroids", f"{centroids!r} is unknown", f"use {', '.join(_CENTROIDS)}")
    check_training(model, train, fit)
    tfmot = load_tfmot()
    twin = twin_of(model, check)
    chosen = select(model, entries)
    wanted = [(target, numbers[target.entry]) for target in chosen.targets]
    wanted, skipped = _supported(twin, wanted, list(chosen.skipped), per_channel)
    if not wanted:
        reasons = "; ".join(f"{path}: {why}" for path, why in skipped[-5:])
        raise LayerError(
            f"model {model.name!r}",
            f"TFMOT would cluster nothing ({reasons})",
            "select layers with kernels, or ask for fewer clusters",
        )
    initial = tfmot.clustering.keras.CentroidInitialization[_CENTROIDS[centroids]]
    wrapped = _wrapped(tfmot, twin, wanted, initial, per_channel, preserve_sparsity)
    history = train_twin(wrapped, model, train, fit)
    stripped = tfmot.clustering.keras.strip_clustering(wrapped)
    layers = {path: stripped.get_layer(name) for path, name in twin.names.items()}
    clustered = twin.bring_back(layers)
    report = _report(clustered, wanted, skipped, per_channel)
    for row in report.rows:
        if row.unique > row.clusters:
            raise LayerError(
                f"weight {row.path}/{row.role}",
                f"it has {row.unique} distinct values after clustering into {row.clusters}",
                f"exclude {row.path!r}",
            )
    return TfmotClustered(clustered, report, history)


def _entries(
    config_list: Sequence[Mapping[str, Any]], clusters: int, preserve_sparsity: bool
) -> tuple[tuple[Any, ...], list[int]]:
    """Validated entries for `selection`, and the number of clusters of each."""
    least = 3 if preserve_sparsity else 2
    numbers = []
    translated = []
    for i, entry in enumerate(config_list or ({"op_types": ["default"]},)):
        number = entry.get("clusters", clusters) if isinstance(entry, Mapping) else clusters
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ConfigError(
                f"config_list[{i}]" if config_list else "clusters",
                f"clusters is {number!r}",
                f"use an integer of at least {least}",
            )
        numbers.append(number)
        if isinstance(entry, Mapping):
            entry = {key: value for key, value in entry.items() if key != "clusters"}
            if not entry.get("exclude"):
                entry = {**entry, "sparsity": 0.0}  # `selection` requires one; it is not used here
        translated.append(entry)
    return parse_config_list(translated), numbers


def _supported(
    twin: Twin,
    wanted: Sequence[tuple[Target, int]],
    skipped: list[tuple[str, str]],
    per_channel: bool,
) -> tuple[list[tuple[Target, int]], list[tuple[str, str]]]:
    """Split the targets into those that TFMOT can cluster, and skipped layers with reasons."""
    registry = CLUSTERING_REGISTRY.get()
    fit = []
    for target, number in wanted:
        path, role = target.key
        layer = twin.layer(twin.owner(path))
        kind = type(layer).__name__
        size = int(np.prod(target.variable.shape))
        if per_channel and kind == "Conv2D":
            size //= int(target.variable.shape[-1])
        names = WEIGHTS_OF_LAYERS.of(registry).get(type(layer))
        if not registry.supports(layer) or names == []:
            skipped.append((path, f"TFMOT cannot cluster {kind}"))
        elif names is not None and role not in names:
            skipped.append((path, f"TFMOT does not cluster the {role} of {kind}"))
        elif not layer.trainable:
            skipped.append((path, "it is frozen (trainable=False), so TFMOT skips it"))
        elif kind not in DEFAULT_TYPES and path != twin.owner(path):
            skipped.append((path, f"it is inside a {kind}"))
        elif size <= number:
            place = "each channel of " if per_channel and kind == "Conv2D" else ""
            skipped.append((path, f"{place}{role} has only {size} weights for {number} clusters"))
        else:
            fit.append((target, number))
    return fit, skipped


def _wrapped(
    tfmot: Any,
    twin: Twin,
    wanted: Sequence[tuple[Target, int]],
    initial: Any,
    per_channel: bool,
    preserve_sparsity: bool,
) -> Any:
    """The twin with clustering wrappers around its own layers, which are not copied."""
    import tensorflow as tf
    import tf_keras

    numbers = {twin.names[target.key[0]]: number for target, number in wanted}

    def wrap(layer: Any) -> Any:
        if layer.name not in numbers:
            return layer
        if type(layer).__name__ == "Conv2D":
            # cluster_weights() miscounts the channels of a layer without bias, and then does not
            # cluster it.
            return CLUSTER_WEIGHTS.get()(
                layer, numbers[layer.name], initial, preserve_sparsity, per_channel
            )
        return tfmot.clustering.keras.cluster_weights(
            layer, numbers[layer.name], initial, preserve_sparsity=preserve_sparsity
        )

    try:
        return tf_keras.models.clone_model(twin.model, clone_function=wrap)
    except tf.errors.InvalidArgumentError as error:
        raise LayerError(
            f"model {twin.original.name!r}",
            f"TFMOT finds no initial values for so many clusters ({error.message})",
            "ask for fewer clusters, or use centroids='linear'",
        ) from error


def _report(
    clustered: Any,
    wanted: Sequence[tuple[Target, int]],
    skipped: Sequence[tuple[str, str]],
    per_channel: bool,
) -> ClusterReport:
    values = named_weights(clustered)
    rows = []
    for target, number in wanted:
        value = np.asarray(values[target.key])
        own = per_channel and value.ndim == 4 and target.axes == (-2, -1)  # a Conv2D
        parts = np.moveaxis(value, -1, 0) if own else value[None]
        rows.append(
            ClusterRow(
                path=target.key[0],
                role=target.key[1],
                weights=value.size,
                clusters=number,
                unique=max(len(np.unique(part)) for part in parts),
                zeros=int(value.size - np.count_nonzero(value)),
                per_channel=own,
            )
        )
    return ClusterReport(tuple(rows), tuple(skipped))
