"""ONNX files: read, checked, run by onnxruntime, and looked into.

```python
model = OnnxModel.load("detector.onnx")
maps = model.predict(images)            # {"level0": ..., ...}, images (B, 3, H, W)
inner = model.tensors(images)           # every intermediate tensor, by its name in the graph
```
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tfcompress.atomic import write_bytes
from tfcompress.errors import ConfigError, DataError
from tfcompress.short_repr import one_line


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: Its name in the graph.
        shape: Shape with the batch axis; None for a dynamic size.
        dtype: NumPy type name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class OnnxModel:
    """A checked ONNX graph.

    Attributes:
        proto: The graph as `onnx` reads it; not to be changed.
        source: The file's path, or another name for error messages.
    """

    proto: onnx.ModelProto
    source: str

    @classmethod
    def load(cls, path: str | Path) -> OnnxModel:
        """Read and check a file.

        Raises:
            DataError: There is no such file, or it is no valid ONNX file.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(str(path), "there is no such file", "give the path of an .onnx file")
        try:
            proto = onnx.load(path)
        except Exception as error:  # protobuf's, onnx's and the file system's have no common base
            raise _broken(str(path), error) from None
        return cls.from_proto(proto, str(path))

    @classmethod
    def from_proto(cls, proto: onnx.ModelProto, source: str = "ONNX model") -> OnnxModel:
        """Check a graph that is in memory.

        Raises:
            DataError: It is no valid graph.
        """
        try:
            onnx.checker.check_model(proto, full_check=True)
        except Exception as error:
            raise _broken(source, error) from None
        if not proto.graph.node:
            raise DataError(source, "it holds no operation", "export the model again")
        return cls(proto, source)

    def __repr__(self) -> str:
        facts = {"source": self.source, "inputs": self.inputs, "outputs": self.outputs}
        return one_line("OnnxModel", {**facts, "size_bytes": self.size_bytes})

    def save(self, path: str | Path) -> Path:
        """Write the file; an old one stays until it is whole."""
        write_bytes(path, self.proto.SerializeToString())
        return Path(path)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return max(
            item.version for item in self.proto.opset_import if item.domain in ("", "ai.onnx")
        )

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.proto.ByteSize()

    @property
    def metadata(self) -> dict[str, str]:
        """Texts that the exporter wrote beside the graph."""
        return {item.key: item.value for item in self.proto.metadata_props}

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes, weights left out."""
        weights = {tensor.name for tensor in self.proto.graph.initializer}
        return tuple(_port(i) for i in self.proto.graph.input if i.name not in weights)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives."""
        return tuple(map(_port, self.proto.graph.output))

    @functools.cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """A session on the CPU, with its own choice of threads."""
        return self.new_session()

    def new_session(self, threads: int = 0) -> onnxruntime.InferenceSession:
        """A session of its own number of threads; 0 leaves it to onnxruntime.

        Raises:
            DataError: onnxruntime cannot run the graph.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _broken(self.source, error) from None

    def feed(self, inputs: Any) -> dict[str, np.ndarray]:
        """Arrays by input name, checked; the batch may be any multiple of a fixed one.

        Args:
            inputs: An array for a model with one input, a list in the order of `inputs`, or a dict.

        Raises:
            DataError: They do not fit the inputs.
        """
        names = [port.name for port in self.inputs]
        if not isinstance(inputs, dict):
            listed = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            if len(listed) != len(names):
                raise DataError(
                    self.source, f"{len(listed)} arrays for {len(names)} inputs", "give one each"
                )
            inputs = dict(zip(names, listed, strict=True))
        missing = [name for name in names if name not in inputs]
        if missing:
            raise DataError(self.source, f"input {missing[0]!r} is missing", "give it")
        fed = {port.name: np.asarray(inputs[port.name], port.dtype) for port in self.inputs}
        for port in self.inputs:
            shape = fed[port.name].shape
            fits = len(shape) == len(port.shape) and all(
                want in (None, have) for want, have in zip(port.shape[1:], shape[1:], strict=True)
            )
            if not fits or not shape[0] or shape[0] % (port.shape[0] or 1):
                wanted = ", ".join("any" if size is None else str(size) for size in port.shape)
                raise DataError(
                    f"{self.source}, input {port.name!r}",
                    f"the array has shape {shape}, but the model takes ({wanted})",
                    "give images of that size, (B, C, H, W) if it came from PyTorch; for a batch "
                    "of any size, export with dynamic_batch=True",
                )
        return fed

    def predict(self, inputs: Any) -> dict[str, np.ndarray]:
        """Outputs by name for a batch; a graph of a fixed batch takes it in chunks.

        Raises:
            DataError: The arrays do not fit the inputs.
        """
        return self._run(self.session, inputs, [port.name for port in self.outputs])

    def tensors(self, inputs: Any, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Intermediate tensors and outputs by their names in the graph, in its order.

        Args:
            inputs: As in `predict`.
            names: Which; default every floating-point tensor that a node makes.

        Raises:
            ConfigError: A name that no node makes.
        """
        probe = self.with_outputs(self.made if names is None else names)
        names = [port.name for port in probe.outputs]
        found = self._run(probe.new_session(), inputs, names)
        order = {name: i for i, name in enumerate(self.made)}
        return {name: found[name] for name in sorted(names, key=order.__getitem__)}

    @functools.cached_property
    def made(self) -> tuple[str, ...]:
        """Floating-point tensors that nodes make, in the order of the graph."""
        kinds = {i.name: i.type.tensor_type.elem_type for i in self._inferred.graph.value_info}
        kinds |= {i.name: i.type.tensor_type.elem_type for i in self._inferred.graph.output}
        return tuple(
            name
            for node in self.proto.graph.node
            if node.op_type != "Constant"
            for name in node.output
            if kinds.get(name) == onnx.TensorProto.FLOAT
        )

    @functools.cached_property
    def _inferred(self) -> onnx.ModelProto:
        return onnx.shape_inference.infer_shapes(self.proto)

    def with_outputs(self, names: Sequence[str]) -> OnnxModel:
        """A copy that also gives intermediate tensors.

        Raises:
            ConfigError: A name that no node makes.
        """
        unknown = [name for name in names if name not in self.made]
        if unknown:
            raise ConfigError(
                f"tensor {unknown[0]!r}",
                f"no node of {self.source} makes it",
                f"use some of {', '.join(self.made[:10])}",
            )
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        known = {item.name: item for item in self._inferred.graph.value_info}
        have = {item.name for item in proto.graph.output}
        proto.graph.output.extend(known[name] for name in names if name not in have)
        return OnnxModel(proto, self.source)

    def _run(
        self, session: onnxruntime.InferenceSession, inputs: Any, names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        fed = self.feed(inputs)
        count = len(fed[self.inputs[0].name])
        step = self.inputs[0].shape[0] or count
        parts = [
            session.run(list(names), {name: a[i : i + step] for name, a in fed.items()})
            for i in range(0, count, step)
        ]
        return {n: np.concatenate(p) for n, p in zip(names, zip(*parts, strict=True), strict=True)}


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Port(
        value.name, shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    )


def _broken(source: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(
        source,
        f"it is no ONNX file that can be run ({reason})",
        "export it again: bridges.handover.export",
    )
