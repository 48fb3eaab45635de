"""MACs and parameters of a model as functions of what is kept, without building it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.layers import named_weights
from tfcompress.pruning.channels.trace.flow import Keep
from tfcompress.pruning.channels.trace.groups import ChannelGraph


class ChannelCost:
    """Cost of a model for any choice of channels.

    The MACs of a layer shrink as its kernels do: by the share that is kept along each cut axis.

    Args:
        graph: Channel groups of the model.
        input_shapes: Shapes of the inputs without the batch axis, if the model leaves sizes free.

    Raises:
        LayerError: The size of the inputs is not known.
    """

    def __init__(
        self, graph: ChannelGraph, input_shapes: Sequence[tuple[int, ...]] | None = None
    ) -> None:
        cost = count_cost(graph.model, input_shapes)
        self.uncounted = cost.uncounted
        self._arrays: list[np.ndarray] = []
        self._index: dict[bytes, int] = {}
        axes: dict[tuple[str, str], dict[int, int]] = {}
        for cut in graph.flow.cuts:
            axes.setdefault(cut.key, {})[cut.axis] = self._array(cut.units)
        weights = named_weights(graph.model)
        sizes = {key: math.prod(variable.shape) for key, variable in weights.items()}
        self._weights = [(n, tuple(axes.get(key, {}).values())) for key, n in sizes.items()]
        self._macs: list[tuple[float, tuple[int, ...]]] = []
        charged = {layer.path: layer.macs for layer in cost.layers if layer.macs}
        for path, macs in charged.items():
            if path in graph.flow.scales:
                self._macs.append((macs, (self._array(graph.flow.scales[path]),)))
                continue
            kernels = {
                key: n
                for key, n in sizes.items()
                if _owner(key[0], charged) == path and key[1].endswith("kernel")
            }
            total = sum(kernels.values())
            for key, n in kernels.items():
                self._macs.append((macs * n / total, tuple(axes.get(key, {}).values())))
            if not kernels:
                self._macs.append((macs, ()))

    def macs(self, keep: Keep) -> float:
        """Multiply-accumulates of one sample."""
        return _sum(self._macs, self._shares(keep))

    def parameters(self, keep: Keep) -> float:
        """Number of weights, moving statistics included."""
        return _sum(self._weights, self._shares(keep))

    def _shares(self, keep: Keep) -> list[float]:
        return [float(np.mean(keep[units])) for units in self._arrays]

    def _array(self, units: np.ndarray) -> int:
        key = units.tobytes()
        if key not in self._index:
            self._index[key] = len(self._arrays)
            self._arrays.append(units)
        return self._index[key]


def _owner(path: str, charged: Collection[str]) -> str:
    """The layer that a weight's MACs are counted for: its own, or the RNN that contains it."""
    while path not in charged and "/" in path:
        path = path.rsplit("/", 1)[0]
    return path


def _sum(terms: Sequence[tuple[float, tuple[int, ...]]], shares: Sequence[float]) -> float:
    return sum(amount * math.prod(shares[i] for i in indices) for amount, indices in terms)
