"""Which Keras layer made a tensor of a LiteRT file, read from the tensor's name.

The converter keeps TensorFlow's names: `unet_1/down_relu_1/Relu;unet_1/down_conv_1/convolution` is
the output of `down_relu`, with `down_conv` fused into the same operator. Keras 3 numbers the scopes
of a second trace (`_1`), tf_keras does not, TFMOT puts `quant_` before a layer's name. A tensor
that leaves the model may be called `PartitionedCall:0`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tfcompress.graph.layers import flavor_of, walk_layers
from tfcompress.graph.wiring import functional_core, read_wiring

_NUMBER = re.compile(r"_\d+$")
_OUTPUT = re.compile(r"(?:Stateful)?PartitionedCall:(\d+)$")
_TFMOT = "quant_"


class TensorLayers:
    """Find layers by tensor name.

    Args:
        model_name: Name of the model that was converted, or of the original of a tf_keras twin.
        paths: Paths of the model's layers.
        outputs: Paths of the layers whose outputs are the model's.
    """

    def __init__(self, model_name: str, paths: Sequence[str], outputs: Sequence[str] = ()) -> None:
        self.model_name = model_name
        self.outputs = tuple(outputs)
        self.by_name: dict[str, list[str]] = {}
        for path in paths:
            self.by_name.setdefault(path.rpartition("/")[2], []).append(path)
            flat = path.replace("/", "_")  # the name in a flat twin
            if flat != path:
                self.by_name.setdefault(flat, []).append(path)

    @classmethod
    def of_model(cls, model: Any) -> TensorLayers:
        """For a Keras model of either flavor."""
        paths = [placed.path for placed in walk_layers(model)]
        outputs: list[str] = []
        if functional_core(model, flavor_of(model)) is not None:
            wiring = read_wiring(model, flat=True)
            makers = {t.index: call.path for call in wiring.calls for t in call.outputs}
            outputs = [makers.get(t.index, "") for t in wiring.outputs]
        return cls(model.name, paths, outputs)

    def all_of(self, tensor: str) -> list[str]:
        """Paths of the layers fused into the operator behind a tensor, its output's first."""
        found = (self._of_part(part) for part in tensor.split(";"))
        return list(dict.fromkeys(path for path in found if path))

    def of(self, tensor: str) -> str:
        """Path of the layer that made a tensor; "" if the tensor's name holds no layer."""
        return self._of_part(tensor.split(";")[0])

    def _of_part(self, name: str) -> str:
        leaving = _OUTPUT.match(name)
        if leaving and int(leaving[1]) < len(self.outputs):
            return self.outputs[int(leaving[1])]
        scopes = name.split("/")[:-1]
        numbered = bool(scopes) and scopes[0] != self.model_name
        for i in reversed(range(len(scopes))):
            for candidate in self._names(scopes[i], numbered):
                paths = self.by_name.get(candidate, ())
                if len(paths) == 1:
                    return paths[0]
                above = {n for scope in scopes[:i] for n in self._names(scope, numbered)}
                for path in paths:  # of equal names in several models inside the model
                    if set(path.split("/")[:-1]) <= above:
                        return path
        return ""

    def _names(self, scope: str, numbered: bool) -> list[str]:
        """What a scope may mean, the likeliest first."""
        bare = _NUMBER.sub("", scope)
        names = [bare, scope] if numbered else [scope, bare]
        return [*names, *(n.removeprefix(_TFMOT) for n in names if n.startswith(_TFMOT))]
