"""Groups of ONNX nodes that are one layer in Keras, found and replaced before a conversion.

PyTorch's exporter writes SiLU as `x * sigmoid(x)`, GELU as five nodes around an error function, and
ShuffleNet's shuffle as reshape, transpose, reshape. Each becomes one node and then one Keras layer,
which quantization-aware training and LiteRT support.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence

import onnx
from onnx import numpy_helper

SILU, GELU, SHUFFLE = "Silu", "Gelu", "ChannelShuffle"
"""Operators of the replacing nodes; they are known to `value_converters` alone."""

Found = tuple[Sequence[onnx.NodeProto], onnx.NodeProto]
"""Nodes of a pattern, the last one last, and the node in their place."""


def with_patterns(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph, with a single node in place of each pattern found.

    The new node outputs the tensor that the last node of the pattern output. A pattern whose inner
    tensors are used elsewhere is kept.
    """
    new = onnx.ModelProto()
    new.CopyFrom(proto)
    for find in (_silus, _gelus, _shuffles):
        graph = GraphReader(new.graph)
        instead: dict[int, onnx.NodeProto] = {}
        gone: set[int] = set()
        for nodes, made in find(graph):
            made.name, made.output[:] = nodes[-1].name, [nodes[-1].output[0]]
            instead[id(nodes[-1])] = made
            gone.update(id(node) for node in nodes)
        if instead:
            kept = [
                instead.get(id(n), n) for n in graph.nodes if id(n) in instead or id(n) not in gone
            ]
            copies = []
            for node in kept:
                copies.append(onnx.NodeProto())
                copies[-1].CopyFrom(node)
            del new.graph.node[:]
            new.graph.node.extend(copies)
    return new


def with_layer_names(proto: onnx.ModelProto) -> dict[str, str]:
    """Rename the outputs of nodes, in place, to valid Keras layer names.

    Returns:
        Old name by new name, such as "/conv/Conv_output_0" of "conv_Conv".
    """
    taken = {item.name for item in (*proto.graph.input, *proto.graph.initializer)}
    new: dict[str, str] = {}
    for old in (name for node in proto.graph.node for name in node.output if name):
        stem = re.sub(r"[^A-Za-z0-9.]+", "_", old.removesuffix("_output_0")).strip("_.") or "tensor"
        count = next(
            n for n in itertools.count(1) if (f"{stem}_{n}" if n > 1 else stem) not in taken
        )
        new[old] = f"{stem}_{count}" if count > 1 else stem
        taken.add(new[old])
    for node in proto.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for item in (*proto.graph.output, *proto.graph.value_info):
        item.name = new.get(item.name, item.name)
    return {made: old for old, made in new.items()}


class GraphReader:
    """Producers and consumers of the tensors of a graph.

    Attributes:
        nodes: Nodes in execution order.
        maker: Node that outputs each tensor, by tensor name.
        constants: Values of initializers and Constant nodes.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and attribute(node, "value") is not None:
                self.constants[node.output[0]] = numpy_helper.to_array(attribute(node, "value"))
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._outputs = {item.name for item in graph.output}

    def only_reader(self, node: onnx.NodeProto, kinds: Sequence[str]) -> onnx.NodeProto | None:
        """The only node that reads the output of a node, if it is of one of these kinds."""
        readers = self._readers.get(node.output[0], [])
        if len(readers) != 1 or node.output[0] in self._outputs:
            return None
        return readers[0] if readers[0].op_type in kinds else None

    def number(self, node: onnx.NodeProto, beside: str) -> float | None:
        """The scalar constant that a node takes beside a tensor."""
        others = [name for name in node.input if name != beside]
        if len(others) != 1 or others[0] not in self.constants:
            return None
        value = self.constants[others[0]]
        return float(value.ravel()[0]) if value.size == 1 else None


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Value of an attribute of a node."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def _silus(graph: GraphReader) -> Iterator[Found]:
    """Sigmoid times its input."""
    for sigmoid in graph.nodes:
        if sigmoid.op_type != "Sigmoid":
            continue
        product, x = graph.only_reader(sigmoid, ("Mul",)), sigmoid.input[0]
        if product is not None and sorted(product.input) == sorted((x, sigmoid.output[0])):
            yield (sigmoid, product), onnx.helper.make_node(SILU, [x], [""])


def _gelus(graph: GraphReader) -> Iterator[Found]:
    """Half of x (1 + erf(x / sqrt(2))), in the order of PyTorch's exporter."""
    for erf in graph.nodes:
        scaled = graph.maker.get(erf.input[0]) if erf.op_type == "Erf" else None
        if scaled is None or scaled.op_type not in ("Div", "Mul"):
            continue
        x = next((name for name in scaled.input if name not in graph.constants), "")
        scale = graph.number(scaled, x)
        wanted = math.sqrt(2) if scaled.op_type == "Div" else 1 / math.sqrt(2)
        plus = graph.only_reader(erf, ("Add",))
        times = plus is not None and graph.only_reader(plus, ("Mul",))
        half = times and graph.only_reader(times, ("Mul",))
        if not half or scale is None or graph.only_reader(scaled, ("Erf",)) is not erf:
            continue
        same = (
            abs(scale - wanted) < 1e-5
            and graph.number(plus, erf.output[0]) == 1
            and sorted(times.input) == sorted((x, plus.output[0]))
            and graph.number(half, times.output[0]) == 0.5
        )
        if same:
            yield (scaled, erf, plus, times, half), onnx.helper.make_node(GELU, [x], [""])


def _shuffles(graph: GraphReader) -> Iterator[Found]:
    """Maps (B, groups * n, H, W) to (B, groups, n, H, W), both swapped, and back."""
    for split in graph.nodes:
        if split.op_type != "Reshape":
            continue
        swap = graph.only_reader(split, ("Transpose",))
        join = swap is not None and graph.only_reader(swap, ("Reshape",))
        if not join or list(attribute(swap, "perm", ())) != [0, 2, 1, 3, 4]:
            continue
        apart, together = (graph.constants.get(node.input[1]) for node in (split, join))
        if apart is None or together is None or len(apart) != 5 or len(together) != 4:
            continue
        _, groups, each, height, width = map(int, apart)
        channels = int(together[1])
        same_map = [int(n) for n in together[2:]] in ([height, width], [-1, -1])
        if groups > 0 and same_map and channels in (groups * each, -1) and each > 0:
            made = onnx.helper.make_node(SHUFFLE, [split.input[0]], [""], groups=groups)
            yield (split, swap, join), made
