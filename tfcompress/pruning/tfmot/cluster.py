"""TFMOT's weight clustering on Keras 3 models, through a tf_keras twin.

A clustered kernel holds few different values, so that its file compresses well.

```python
result = tfmot_cluster(model, 16, fit=dict(x=images, y=labels, epochs=3))
print(result.report)          # different values of each kernel, counted in result.model
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.layers import named_weights
from tfcompress.pruning.selection import DEFAULT_TYPES, Target, parse_config_list, select
from tfcompress.reporting.tables import Table
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
        role: The weight's name within the layer.
        weights: How many there are.
        clusters: Values asked for.
        unique: Different values there are now; of the channel with the most, if per channel.
        zeros: Weights that are zero.
        per_channel: Whether each output channel has values of its own.
    """

    path: str
    role: str
    weights: int
    clusters: int
    unique: int
    zeros: int
    per_channel: bool


@dataclass(frozen=True)
class ClusterReport:
    """What was clustered, counted in the finished model.

    Attributes:
        rows: One per clustered weight.
        skipped: (layer path, reason) of other layers with weights.
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
            ("layer", "weight", "weights", "clusters", "different values", "zeros"),
            title="Clustering, counted in the model",
        )
        for row in self.rows:
            table.add(
                row.path,
                row.role,
                f"{row.weights:,}",
                f"{row.clusters}",
                f"{row.unique}" + (" in a channel" if row.per_channel else ""),
                f"{row.zeros / row.weights:.1%}",
            )
        table.note_skipped(self.skipped)
        return table

    def __str__(self) -> str:
        return str(self.table())


@dataclass(frozen=True)
class TfmotClustered:
    """What TFMOT clustered.

    Attributes:
        model: Of the original's flavor and wiring, plain; compiled as the original was.
        report: Different values counted in `model`.
        history: Of the last `fit`.
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
    """Let the kernels of a trained model share few values while it trains on.

    Args:
        model: Functional or Sequential, of either flavor, trained; not changed.
        clusters: Different values of each kernel.
        config_list: Which layers: entries with `op_types`, `op_names`, `exclude` as in
            `selection.py`, and `clusters` where a layer shall have another number. Default: all
            that `"default"` means.
        centroids: How the values are found at first.
        per_channel: Values of its own for each output channel of a Conv2D, which survive int8
            quantization best.
        preserve_sparsity: Zeros of a pruned model stay zero; one cluster is theirs.
        train: Compiles and fits the tf_keras model it is given.
        fit: Instead of `train`: arguments of `fit`; the twin is compiled as `model` is.
        check: Compare the twin's outputs with the model's first.

    Raises:
        ConfigError: A bad argument, or a compile state that does not cross.
        LayerError: The model has no graph, a layer that cannot cross, or nothing to cluster.
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
                f"it has {row.unique} different values after clustering into {row.clusters}",
                f"exclude {row.path!r}",
            )
    return TfmotClustered(clustered, report, history)


def _entries(
    config_list: Sequence[Mapping[str, Any]], clusters: int, preserve_sparsity: bool
) -> tuple[tuple[Any, ...], list[int]]:
    """The entries as `selection` reads them, and the clusters that each asks for."""
    least = 3 if preserve_sparsity else 2
    numbers = []
    translated = []
    for i, entry in enumerate(config_list or ({"op_types": ["default"]},)):
        number = entry.get("clusters", clusters) if isinstance(entry, Mapping) else clusters
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ConfigError(
                f"config_list[{i}]" if config_list else "clusters",
                f"clusters is {number!r}",
                f"use a whole number from {least} on",
            )
        numbers.append(number)
        if isinstance(entry, Mapping):
            entry = {key: value for key, value in entry.items() if key != "clusters"}
            if not entry.get("exclude"):
                entry = {**entry, "sparsity": 0.0}  # `selection` wants one; it means nothing here
        translated.append(entry)
    return parse_config_list(translated), numbers


def _supported(
    twin: Twin,
    wanted: Sequence[tuple[Target, int]],
    skipped: list[tuple[str, str]],
    per_channel: bool,
) -> tuple[list[tuple[Target, int]], list[tuple[str, str]]]:
    """What TFMOT clusters, and what is passed over with the reason."""
    from tensorflow_model_optimization.python.core.clustering.keras.clustering_registry import (
        ClusteringRegistry,
    )

    fit = []
    for target, number in wanted:
        path, role = target.key
        layer = twin.layer(twin.owner(path))
        kind = type(layer).__name__
        size = int(np.prod(target.variable.shape))
        if per_channel and kind == "Conv2D":
            size //= int(target.variable.shape[-1])
        names = ClusteringRegistry._LAYERS_WEIGHTS_MAP.get(type(layer))
        if not ClusteringRegistry.supports(layer) or names == []:
            skipped.append((path, f"TFMOT clusters no {kind}"))
        elif names is not None and role not in names:
            skipped.append((path, f"TFMOT leaves the {role} of a {kind}"))
        elif not layer.trainable:
            skipped.append((path, "it is frozen (trainable=False), and TFMOT leaves such layers"))
        elif kind not in DEFAULT_TYPES and path != twin.owner(path):
            skipped.append((path, f"it is inside a {kind}"))
        elif size <= number:
            place = "a channel of " if per_channel and kind == "Conv2D" else ""
            skipped.append((path, f"{place}{role} has no more weights than clusters"))
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
    """The twin with clustering wrappers around its very layers."""
    import tensorflow as tf
    import tf_keras
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import (
        ClusterWeights,
    )

    numbers = {twin.names[target.key[0]]: number for target, number in wanted}

    def wrap(layer: Any) -> Any:
        if layer.name not in numbers:
            return layer
        if type(layer).__name__ == "Conv2D":
            # Not by cluster_weights(): it counts the channels of a layer without bias wrongly
            # and then leaves it as it is.
            return ClusterWeights(
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
            f"TFMOT finds no first values for so many clusters ({error.message})",
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
