"""The flow of channels through a model: each layer's rule is applied in the order of the graph.

`trace` walks a flat wiring. A rule (`layer_rules.py`, `operation_rules.py`) says for an operation
which units its output carries. It records in the `Flow` which axes of which weights shrink when a
unit is removed (`Cut`), and which layer configs and call arguments have to be rewritten. An
operation without a rule freezes the units that reach it, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfcompress.graph.layers import Key, is_of_keras, named_weights
from tfcompress.graph.wiring import Call, Wiring
from tfcompress.pruning.channels.core.units import Lanes, Units

Keep = np.ndarray
"""(units + 1,) booleans, True for a kept unit; the last is True, so that `keep[FIXED]` is."""

Part = Literal["maker", "follower", "reader"]
Rule = Callable[["Flow", Call, list[Lanes]], list[Lanes]]


@dataclass
class Cut:
    """An axis of a weight that shrinks with its units.

    Attributes:
        key: (layer path, role) of the weight.
        axis: Axis of the weight.
        units: (size of the axis,) units.
        part: "maker" for a layer that produces the channels, "follower" for one that processes each
            channel separately, "reader" for one that sums over them.
        tensor: Index of the tensor that a reader reads; None for other parts.
    """

    key: Key
    axis: int
    units: np.ndarray
    part: Part
    tensor: int | None = None


class Flow:
    """Everything that the rules record about a model."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.units = Units()
        self.lanes: dict[int, Lanes] = {}
        self.cuts: list[Cut] = []
        self.configs: dict[str, list[Callable[[Keep], dict[str, Any]]]] = {}
        self.arguments: dict[str, list[Callable[[Keep, Any], Any]]] = {}
        self.scales: dict[str, np.ndarray] = {}
        self._fresh: dict[str, np.ndarray] = {}
        self._opaque: dict[Key, str] = {}
        self._cut_at: dict[tuple[Key, int], Cut] = {}
        self._keys = {id(variable): key for key, variable in named_weights(wiring.model).items()}

    def fresh(self, path: str, count: int) -> np.ndarray:
        """Units that a layer makes, the same at each of its calls."""
        if path not in self._fresh:
            units = self.units.fresh(count)
            self._fresh[path] = units
            if count == 1:
                self.units.freeze(units, "it has one channel")
        return self._fresh[path]

    def cut(
        self,
        variable: Any,
        axis: int,
        units: np.ndarray,
        part: Part,
        tensor: int | None = None,
    ) -> None:
        """Record that an axis of a weight shrinks with units; a second call joins them."""
        if variable is None:
            return
        if id(variable) not in self._keys:  # LoRA and quantization compute the kernel at each call
            self.units.freeze(units, "its weight does not belong to the layer itself")
            return
        axis %= len(variable.shape)
        key = self._keys[id(variable)]
        before = self._cut_at.get((key, axis))
        if before is None:
            self._cut_at[key, axis] = Cut(key, axis, np.asarray(units), part, tensor)
            self.cuts.append(self._cut_at[key, axis])
            return
        why = f"layer {key[0]!r} is also called on channels that cannot be removed"
        self.units.join(before.units, units, why)
        if part == "reader":
            self.cuts.append(Cut(key, axis, before.units, part, tensor))

    def take(self, lanes: Lanes, axis: int, why: str) -> tuple[np.ndarray, np.ndarray]:
        """Units and their values when zeroed along one axis, in full length.

        Units that vary along another axis are frozen, with the reason `why`.
        """
        axis %= len(lanes.shape)
        if any(other != axis for other in lanes.axes):
            self.units.freeze(lanes.units, why)
            lanes = Lanes.fixed(lanes.shape)
        length = (lanes.shape[axis] or 1,)
        return (
            np.broadcast_to(lanes.units.ravel(), length),
            np.broadcast_to(lanes.value_when_zeroed.ravel(), length),
        )

    def read(self, call: Call, lanes: Lanes, axis: int = -1) -> np.ndarray:
        """Units along an axis that a layer sums over; those not zero when removed freeze."""
        units, zeroed = self.take(lanes, axis, f"{call.path!r} sums over another axis")
        self.freeze_unless_zero(call, units, zeroed)
        return units

    def freeze_unless_zero(self, call: Call, units: np.ndarray, zeroed: np.ndarray) -> None:
        """Freeze units whose removed positions hold another value than zero."""
        self.units.freeze(
            units[~(zeroed == 0)], f"a zeroed channel does not reach {call.path!r} as zero"
        )

    def give_up(self, call: Call, inputs: list[Lanes], why: str) -> list[Lanes]:
        """Freeze all units of the inputs; the outputs carry none."""
        for lanes in inputs:
            self.units.freeze(lanes.units, why)
        for variable in getattr(
            call.op, "weights", ()
        ):  # it may contain layers that are used elsewhere too
            if id(variable) in self._keys:
                self._opaque[self._keys[id(variable)]] = why
        return [Lanes.fixed(t.shape[1:]) for t in call.outputs]

    def join_calls(self, first: list[Lanes], second: list[Lanes], why: str) -> None:
        """Join the units that enter two calls of one layer, whose size is the same in both."""
        for ours, theirs in zip(first, second, strict=True):
            if ours.units.shape == theirs.units.shape:
                self.units.join(ours.units, theirs.units, why)
            else:
                self.units.freeze(ours.units, why)
                self.units.freeze(theirs.units, why)

    def close(self) -> None:
        """Freeze units of opaque layers' weights, and replace units by their representatives."""
        for cut in self.cuts:
            if cut.key in self._opaque:
                self.units.freeze(cut.units, self._opaque[cut.key])
        for cut in self.cuts:
            cut.units = self.units.roots(cut.units)
        self.scales = {path: self.units.roots(units) for path, units in self.scales.items()}

    def config(self, path: str, rewrite: Callable[[Keep], dict[str, Any]]) -> None:
        """Record how config values of a layer follow from the kept units."""
        self.configs.setdefault(path, []).append(rewrite)

    def argument(self, path: str, rewrite: Callable[[Keep, Any], Any]) -> None:
        """Record how the (args, kwargs) of a call follow from the kept units."""
        self.arguments.setdefault(path, []).append(rewrite)


def kept(keep: Keep, units: np.ndarray) -> int:
    """Number of positions that stay."""
    return int(np.count_nonzero(keep[units]))


def trace(wiring: Wiring, rules: Mapping[Any, Rule], other: Rule) -> Flow:
    """Apply the rules to a flat wiring.

    Args:
        wiring: Wiring of a model, read with `flat=True`.
        rules: Rules by class, or by class name for classes of Keras itself.
        other: Rule for operations that have none.

    Returns:
        The flow with all cuts, rewrites and frozen units.
    """
    flow = Flow(wiring)
    for tensor in wiring.inputs:
        flow.lanes[tensor.index] = Lanes.fixed(tensor.shape[1:])
    earlier: dict[int, list[Lanes]] = {}
    for call in wiring.calls:
        inputs = [flow.lanes[tensor.index] for tensor in call.inputs]
        named = rules.get(call.kind) if is_of_keras(call.op) else None
        outputs = rules.get(type(call.op), named or other)(flow, call, inputs)
        for tensor, lanes in zip(call.outputs, outputs, strict=True):
            flow.lanes[tensor.index] = lanes
        if id(call.op) in earlier and (call.path in flow.configs or call.path in flow.arguments):
            flow.join_calls(earlier[id(call.op)], inputs, f"{call.path!r} is also called on it")
        earlier.setdefault(id(call.op), inputs)
    entries: dict[str, list[Lanes]] = {}
    for path, tensors in wiring.nested:
        entering = [flow.lanes[tensor.index] for tensor in tensors]
        first = entries.setdefault(path, entering)
        flow.join_calls(first, entering, f"{path!r} is also called on another tensor")
    for tensor in wiring.outputs:
        flow.units.freeze(flow.lanes[tensor.index].units, "model output")
    flow.close()
    return flow
