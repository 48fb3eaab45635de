"""Convert Keras models to LiteRT files, and run them on NumPy arrays.

```python
lite = to_litert(model, format="int8", calibration=images)
lite.save("model.tflite")
probabilities = lite.predict(images)          # floats in, floats out; quantized inside
print(lite.float_ops)                         # () for a full-integer model
```
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.atomic import write_bytes
from tfcompress.errors import ConfigError, DataError
from tfcompress.graph.layers import flavor_of, is_named, walk_layers
from tfcompress.litert import card as cards
from tfcompress.litert.calibration import calibration_samples
from tfcompress.litert.converter import Signature, convert, input_specs
from tfcompress.litert.file import LiteFile, read_litert_file
from tfcompress.litert.formats import FORMATS, format_named
from tfcompress.litert.summary import shape_text, summary
from tfcompress.litert.tensor_layers import TensorLayers
from tfcompress.quiet import quiet_stderr
from tfcompress.renamed import renamed_argument, renamed_fields
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import one_line, short_repr


@short_repr
@dataclass(frozen=True)
class Port:
    """An input or output of a LiteRT model.

    Attributes:
        name: Keras name of the input, or "output_0", "output_1", ... in the order of `outputs`.
        key: Name in the file's signature.
        shape: Shape with the batch axis; -1 where an axis is free.
        dtype: NumPy type name.
        scale: Real value of one integer step; 0 for a float port.
        zero_point: Integer that stands for 0.0.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Convert real values to the port's numbers."""
        if not self.scale:
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.round(values / self.scale) + self.zero_point
        return steps.clip(limits.min, limits.max).astype(self.dtype)

    def dequantize(self, values: np.ndarray) -> np.ndarray:
        """Convert the port's numbers to real values."""
        if not self.scale:
            return values
        return (values.astype(np.float32) - self.zero_point) * np.float32(self.scale)


@renamed_fields(recipe="format")
@dataclass(frozen=True)
class LiteModel:
    """A LiteRT file in memory: its bytes, its inputs and outputs, and what computes in float.

    `print(lite_model)` shows what the file is.

    Attributes:
        content: Bytes of the file.
        format: Number format it was converted to, a key of `FORMATS`; "" for a file of unknown
            origin.
        inputs: Inputs, in the order of the Keras model.
        outputs: Outputs, in the order of the Keras model.
        float_ops: Operators that compute in floating point, as "SOFTMAX" or "CONV_2D x3".
    """

    content: bytes
    format: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    float_ops: tuple[str, ...]

    @classmethod
    @renamed_argument("recipe", "format")
    def from_bytes(
        cls, content: bytes, format: str = "", input_names: Sequence[str] = ()
    ) -> LiteModel:
        """Wrap the bytes of a LiteRT file.

        Raises:
            DataError: The bytes are not a LiteRT file, or would crash LiteRT's interpreter.
        """
        file = read_litert_file(content)
        broken = file.broken_operator()
        if broken is not None:
            name = file.tensors[broken.outputs[0]].name
            raise DataError(
                f"LiteRT file, operator {broken.kind} of {name!r}",
                "one of its inputs is missing, on which LiteRT's interpreter ends the process",
                "convert the model again, with tfcompress or with float outputs",
            )
        interpreter = _interpreter(content, threads=1)
        inputs = _ports(interpreter, "inputs", input_names)
        outputs = _ports(interpreter, "outputs", ())
        return cls(content, format, inputs, outputs, tuple(file.float_operators()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LiteModel:
        """Read a `.tflite` file.

        Raises:
            DataError: There is no such file, or it is not a LiteRT file.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(str(path), "there is no such file", "give the path of a .tflite file")
        return cls.from_bytes(path.read_bytes())

    @functools.cached_property
    def file(self) -> LiteFile:
        """Tensors and operators of the file."""
        return read_litert_file(self.content)

    @functools.cached_property
    def card(self) -> dict[str, Any]:
        """How to use the file (classes, scaling, input size); empty if it does not say."""
        return cards.read_card(self.content)

    def with_card(self, card: Mapping[str, Any]) -> LiteModel:
        """The same model with a card in its file, which runtimes ignore; an empty card removes it.

        Args:
            card: Plain data, such as `{"classes": [...], "scaling": "minmax"}`.
        """
        return replace(self, content=cards.with_card(self.content, card))

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    def predict(self, inputs: Any, threads: int = 2, raw: bool = False) -> Any:
        """Run the model on a batch, in chunks of the file's own batch size.

        Args:
            inputs: An array `(N, ...)`, or one per input in the order of `inputs`.
            threads: Number of threads of the interpreter.
            raw: Whether arrays hold the file's own numbers (int8) instead of real values.

        Returns:
            An array `(N, ...)`, or a list of them for a model with several outputs.

        Raises:
            DataError: The batch does not fit the model's inputs.
        """
        arrays = [np.asarray(a) for a in inputs] if isinstance(inputs, (list, tuple)) else [inputs]
        if len(arrays) != len(self.inputs):
            raise DataError(
                "inputs",
                f"{len(arrays)} arrays for {len(self.inputs)} inputs",
                "give one each",
            )
        for array, port in zip(arrays, self.inputs, strict=True):
            free = tuple(n for n in port.shape[1:])
            if tuple(array.shape[1:]) != free:
                raise DataError(
                    f"input {port.name!r}",
                    f"samples have shape {tuple(array.shape[1:])}, but the model takes {free}",
                    "resize or cut them to that shape",
                )
        step = max(1, self.inputs[0].shape[0])
        if len(arrays[0]) % step:
            raise DataError(
                "inputs",
                f"{len(arrays[0])} samples do not fill batches of {step}",
                "pad them, or convert with batch_size=1",
            )
        chunks = list(self._run(arrays, step, threads, raw))
        if not chunks:
            raise DataError("inputs", "there is no sample", "give at least one")
        results = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
        return results[0] if len(results) == 1 else results

    def _run(
        self, arrays: Sequence[np.ndarray], step: int, threads: int, raw: bool
    ) -> Iterator[list[np.ndarray]]:
        runner = _interpreter(self.content, threads).get_signature_runner()
        for start in range(0, len(arrays[0]), step):
            feed = {
                port.key: array[start : start + step]
                if raw
                else port.quantize(array[start : start + step])
                for array, port in zip(arrays, self.inputs, strict=True)
            }
            fetched = runner(**feed)
            yield [
                fetched[port.key] if raw else port.dequantize(fetched[port.key])
                for port in self.outputs
            ]

    def table(self) -> Table:
        """What the file is: inputs, outputs, operators, weights, what stays in float."""
        return summary(self)

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        ports = [
            "+".join(f"{shape_text(port)} {port.dtype}" for port in ports)
            for ports in (self.inputs, self.outputs)
        ]
        facts = {"format": self.format, "size_bytes": self.size_bytes}
        return one_line("LiteModel", {**facts, "inputs": ports[0], "outputs": ports[1]})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically: if writing fails, an existing file stays as it was."""
        write_bytes(path, self.content)


@renamed_argument("recipe", "format")
def to_litert(
    model: Any,
    format: str = "float32",
    calibration: Any = None,
    batch_size: int | None = 1,
    sparse_encoding: bool = False,
    calibration_samples_at_most: int = 200,
    keep_float: Sequence[str] = (),
) -> LiteModel:
    """Convert a Keras 3 or tf_keras model to LiteRT.

    Args:
        model: A built model whose input shapes are fixed, except for the batch.
        format: Number format: "float32", "float16", "dynamic_int8", "int8" or "int16x8" (`FORMATS`
            says what each is for). Its old name `recipe` still works, with a warning.
        calibration: About 100 inputs, preprocessed as for the model; for "int8" and "int16x8".
            Arrays or a `tf.data.Dataset`, see `calibration.py`.
        batch_size: Fixed batch size of the file; None leaves it free, which costs 30 to 45 % of the
            speed in int8 (more delegate partitions).
        sparse_encoding: Whether zeros are stored sparsely: a smaller file at the same speed.
        calibration_samples_at_most: Largest number of samples to calibrate on.
        keep_float: Layers (names, paths or globs) that compute in float in an "int8" file, such as
            `QuantizationReport.worst` names. Operators fused with them stay in float too.

    Returns:
        The file in memory.

    Raises:
        ConfigError: The format or a layer is unknown.
        DataError: Calibration data is missing or does not fit the model.
        LayerError: The model is unbuilt, or uses an operation that LiteRT does not have.
    """
    chosen = format_named(format)
    if sparse_encoding and not chosen.can_be_sparse:
        raise ConfigError(
            "sparse_encoding",
            f"the runtime refuses sparse weights in a {format!r} file",
            f"use {', '.join(f.name for f in FORMATS.values() if f.can_be_sparse)} with it",
        )
    flavor_of(model)
    names, shapes, dtypes = input_specs(model)
    samples = None
    if chosen.needs_calibration:
        if calibration is None:
            raise DataError(
                "calibration",
                f"format {format!r} measures ranges on data, and none was given",
                "pass calibration=, about 100 samples as the model is fed",
            )
        samples = calibration_samples(calibration, names, shapes, calibration_samples_at_most)
        batch_size = 1 if batch_size is None else batch_size
    if keep_float and (chosen.name != "int8" or sparse_encoding):
        raise ConfigError(
            "keep_float",
            f"it goes with format 'int8' without sparse encoding, not with {format!r}",
            "drop it, or use format='int8'",
        )
    wanted = _layers_named(model, keep_float)
    signature = Signature(tuple(shapes), tuple(dtypes), batch_size)
    content = convert(model, chosen, signature, samples, sparse_encoding)
    if keep_float:
        floats = _tensors_of(model, read_litert_file(content), wanted)
        content = convert(model, chosen, signature, samples, keep_float=floats)
    return LiteModel.from_bytes(content, format, names)


def _layers_named(model: Any, patterns: Sequence[str]) -> set[str]:
    """Paths of the layers that match names, paths or globs."""
    paths = [placed.path for placed in walk_layers(model)] if patterns else []
    found: set[str] = set()
    for pattern in patterns:
        matching = [path for path in paths if is_named(path, pattern)]
        if not matching:
            raise ConfigError(
                "keep_float",
                f"no layer is named {pattern!r}",
                f"use some of {', '.join(paths[:30])}",
            )
        found.update(matching)
    return found


def _tensors_of(model: Any, file: LiteFile, wanted: set[str]) -> list[str]:
    """Names of the output tensors of some layers' operators."""
    finder = TensorLayers.of_model(model)
    names = [file.tensors[i].name for op in file.operators for i in op.outputs]
    found = [name for name in names if wanted & set(finder.all_of(name))]
    if not found:
        raise ConfigError(
            "keep_float",
            f"{', '.join(sorted(wanted))}: no operator of the file bears this name",
            "name a layer that computes: a convolution, a Dense, a merge",
        )
    return found


def _interpreter(content: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _ports(interpreter: Any, which: str, names: Sequence[str]) -> tuple[Port, ...]:
    """Ports in signature order (the order of the Keras model; the file's own may differ)."""
    signatures = interpreter.get_signature_list()
    if not signatures:
        raise DataError(
            "LiteRT file",
            "it has no signature",
            "convert it with to_litert, or with a signature",
        )
    runner = interpreter.get_signature_runner()
    details = runner.get_input_details() if which == "inputs" else runner.get_output_details()
    ports = []
    for i, key in enumerate(sorted(details, key=_numbered)):
        scale, zero_point = details[key]["quantization"]
        shape = details[key].get("shape_signature", details[key]["shape"])
        ports.append(
            Port(
                name=names[i] if i < len(names) else key,
                key=key,
                shape=tuple(int(n) for n in shape),
                dtype=np.dtype(details[key]["dtype"]).name,
                scale=float(scale),
                zero_point=int(zero_point),
            )
        )
    return tuple(ports)


def _numbered(key: str) -> tuple[str, int]:
    stem, _, number = key.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (key, 0)
