"""Where two forms of one model part: outputs and intermediate tensors, matched by name.

```python
wanted = torch_tensors(module, images)
found = onnx_tensors(model, images)
report = compare_tensors(wanted, found, module_outputs(model))
print(report.table(), report.first_apart, report.passed)
```

Tensors are matched by names that are known (PyTorch's exporter writes the path of the module into
the names of its nodes), four axes are brought into one order by the permutation that the two
layouts stand for, and what cannot be matched is listed. Nothing is matched by its shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bridges.handover.heads import HeadSpec
from bridges.handover.onnx_model import OnnxModel
from tfcompress import LiteModel
from tfcompress.errors import ConfigError, DataError
from tfcompress.evaluation.parity import Parity, compare_outputs
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Layout = Literal["NCHW", "NHWC"]
TO_NCHW = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 3, 1, 2)}
"""Permutation of four axes that brings a layout to PyTorch's."""
ATOL, RTOL = 1e-4, 1e-4
"""Default tolerance of float32."""


@short_repr
@dataclass(frozen=True)
class Tensors:
    """What a model computed.

    Attributes:
        title: Name of the model in tables.
        layout: Order of the axes where there are four.
        values: By name, in the order of the computation, batch first.
        outputs: Names of the model's outputs.
    """

    title: str
    layout: Layout
    values: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorParity:
    """Two tensors of one name.

    Attributes:
        name: Name of the tensor in the reference.
        shape: Shape, in the order (N, C, H, W) for four axes.
        lowest: Smallest value of the reference.
        highest: Largest value of the reference.
        parity: The other against the reference.
        is_output: Whether it is an output of the model.
    """

    name: str
    shape: tuple[int, ...]
    lowest: float
    highest: float
    parity: Parity
    is_output: bool


@short_repr
@dataclass(frozen=True)
class ParityReport:
    """A model's tensors against another form of it.

    Attributes:
        reference: Title of what is taken as right.
        other: Title of what is compared.
        rows: Matched tensors, in the order of the computation.
        unmatched: (tensor, reason) of those without a partner.
        atol: Absolute part of the tolerance.
        rtol: Relative part.
        missing_outputs: Outputs without a partner.
    """

    reference: str
    other: str
    rows: tuple[TensorParity, ...]
    unmatched: tuple[tuple[str, str], ...]
    atol: float
    rtol: float
    missing_outputs: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[TensorParity, ...]:
        """The rows of outputs."""
        return tuple(row for row in self.rows if row.is_output)

    @property
    def first_apart(self) -> str | None:
        """The first tensor beyond the tolerance; None where there is none."""
        return next((row.name for row in self.rows if not row.parity.passed), None)

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of any output."""
        return max((row.parity.max_abs for row in self.outputs), default=float("nan"))

    @property
    def passed(self) -> bool:
        """Whether every output has a partner and is within the tolerance."""
        found = bool(self.outputs) and not self.missing_outputs
        return found and all(row.parity.passed for row in self.outputs)

    def table(self, all_tensors: bool = False) -> Table:
        """One row per output, or per tensor."""
        table = Table(
            ("tensor", "shape", "min |d|", "mean |d|", "max |d|", "min rel", "mean rel", "max rel",
             "beyond", "cosine", "SNR"),
            title=f"{self.other} against {self.reference}",
            drop=("min rel", "min |d|", "mean rel", "mean |d|", "shape", "cosine", "max rel"),
        )  # fmt: skip
        for row in self.rows if all_tensors else self.outputs:
            parity = row.parity
            table.add(
                row.name,
                "x".join(map(str, row.shape)),
                *(f"{getattr(parity, f'{what}_abs'):.2g}" for what in ("min", "mean", "max")),
                *(f"{getattr(parity, f'{what}_rel'):.2g}" for what in ("min", "mean", "max")),
                f"{parity.beyond:.2%}",
                f"{parity.cosine:.6f}",
                f"{parity.snr_db:.1f} dB",
            )
        table.note(
            f"beyond: share of values apart by more than {self.atol:g} + {self.rtol:g} |reference|"
        )
        inner = len(self.rows) - len(self.outputs)
        if inner:
            where = self.first_apart
            table.note(
                f"{inner} intermediate tensors compared: "
                + (f"{where} is the first beyond the tolerance" if where else "all within it")
            )
        table.note_skipped(self.unmatched)
        return table

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return {
            "reference": self.reference,
            "other": self.other,
            "passed": self.passed,
            "first_apart": self.first_apart,
            "tensors": {
                row.name: {**row.parity.to_dict(), "is_output": row.is_output} for row in self.rows
            },
            "unmatched": dict(self.unmatched),
        }

    def __str__(self) -> str:
        return str(self.table())


def compare_tensors(
    reference: Tensors,
    other: Tensors,
    names: Mapping[str, str] | None = None,
    atol: float = ATOL,
    rtol: float = RTOL,
) -> ParityReport:
    """Compare what two forms of a model computed on the same images.

    Args:
        reference: What is taken as right.
        other: What is compared with it.
        names: Name in `other` of each tensor of `reference`; default the same name.
        atol: Absolute part of the tolerance.
        rtol: Part of the tolerance relative to the reference.

    Raises:
        DataError: Not one tensor has a partner.
    """
    rows, unmatched, taken = [], [], set()
    for name, array in reference.values.items():
        partner = name if names is None else names.get(name)
        if partner is None or partner not in other.values:
            unmatched.append((name, f"{other.title} has no tensor of this name"))
            continue
        taken.add(partner)
        a = _as_nchw(array, reference.layout)
        b = _as_nchw(other.values[partner], other.layout)
        if a.shape != b.shape:
            unmatched.append((name, f"its shape differs: {a.shape} and {b.shape} as N, C, H, W"))
            continue
        parity = compare_outputs(a, b, atol, rtol)
        low, high = float(a.min()), float(a.max())
        rows.append(TensorParity(name, a.shape, low, high, parity, name in reference.outputs))
    unmatched += [
        (name, f"{reference.title} has no tensor of this name")
        for name in other.values
        if name not in taken
    ]
    if not rows:
        raise DataError(
            f"{reference.title} and {other.title}",
            f"none of {len(reference.values)} and {len(other.values)} tensors could be matched "
            f"({unmatched[0][0]}: {unmatched[0][1]})"
            if unmatched
            else "they have no tensors",
            "compare two forms of one model, with names as its exporter wrote them",
        )
    matched = {row.name for row in rows}
    lost = tuple(name for name in reference.outputs if name not in matched)
    return ParityReport(
        reference.title, other.title, tuple(rows), tuple(unmatched), atol, rtol, lost
    )


def with_boxes(tensors: Tensors, spec: HeadSpec) -> Tensors:
    """The same of a detector, with its normalised boxes and scores as the outputs to judge by.

    Args:
        tensors: Tensors that include the maps of the heads.
        spec: How they are decoded.
    """
    axes = {"NCHW": (0, 2, 3, 1), "NHWC": (0, 1, 2, 3)}[tensors.layout]
    maps = {name: tensors.values[name].transpose(axes) for name in spec.outputs}
    judged = spec.normalised(maps)
    return replace(tensors, values={**tensors.values, **judged}, outputs=tuple(judged))


def torch_tensors(
    module: nn.Module,
    images: np.ndarray,
    output_names: Sequence[str] = (),
    inner: bool = True,
    title: str = "PyTorch",
) -> Tensors:
    """Outputs of a module and of every module in it, by path.

    A module that is called again gets "_1", "_2" behind its path, as in PyTorch's exporter.

    Args:
        module: The module, in evaluation mode.
        images: (B, C, H, W).
        output_names: Names of its outputs; default "output_0" and so on.
        inner: Also what the modules inside give.
        title: Name of the model in tables.
    """
    values: dict[str, np.ndarray] = {}
    calls: dict[str, int] = {}
    paths = {part: path for path, part in module.named_modules() if path}

    def keep(part: nn.Module, _: Any, said: Any) -> None:
        if isinstance(said, torch.Tensor):
            path, count = paths[part], calls.get(paths[part], 0)
            calls[path] = count + 1
            values[f"{path}_{count}" if count else path] = said.numpy().copy()

    hooks = [part.register_forward_hook(keep) for part in paths] if inner else []
    try:
        with torch.inference_mode():
            said = module(torch.from_numpy(np.ascontiguousarray(images)))
    finally:
        for hook in hooks:
            hook.remove()
    listed = [said] if isinstance(said, torch.Tensor) else list(said)
    names = tuple(output_names) or tuple(f"output_{i}" for i in range(len(listed)))
    if len(names) != len(listed):
        raise ConfigError(
            "output_names", f"there are {len(names)} for {len(listed)} outputs", "name each"
        )
    values.update({name: tensor.numpy() for name, tensor in zip(names, listed, strict=True)})
    return Tensors(title, "NCHW", values, names)


def onnx_tensors(
    model: OnnxModel, images: np.ndarray, inner: bool = True, title: str = "ONNX"
) -> Tensors:
    """Outputs of an ONNX graph that came from PyTorch and of every node in it.

    Args:
        model: The graph.
        images: (B, C, H, W).
        inner: Also what the nodes inside give.
        title: Name of the model in tables.
    """
    values = model.tensors(images) if inner else model.predict(images)
    return Tensors(title, "NCHW", values, tuple(port.name for port in model.outputs))


def litert_tensors(
    model: LiteModel, images: np.ndarray, names: Sequence[str], title: str = "LiteRT"
) -> Tensors:
    """Outputs of a LiteRT file, dequantized.

    Intermediate tensors of a file can be overwritten before they are read; to see them, convert a
    graph that gives them as outputs (`OnnxModel.with_outputs`).

    Args:
        model: The file.
        images: (B, C, H, W), as for the other forms of the model; transposed here.
        names: Names of the outputs, in their order.
        title: Name of the model in tables.
    """
    said = model.predict(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    listed = said if isinstance(said, list) else [said]
    return Tensors(title, "NHWC", dict(zip(names, listed, strict=True)), tuple(names))


def keras_tensors(
    model: Any, images: np.ndarray, layers: Mapping[str, str] | None = None, title: str = "Keras"
) -> Tensors:
    """Outputs of a Keras 3 model and of layers in it.

    Args:
        model: Takes (B, H, W, C).
        images: (B, C, H, W), as for the other forms of the model; transposed here.
        layers: Layer of each tensor that is wanted beside the outputs, by the tensor's name.
        title: Name of the model in tables.
    """
    import keras

    there = {layer.name: layer.output for layer in model.layers}
    wanted = {name: there[layer] for name, layer in (layers or {}).items() if layer in there}
    wanted |= dict(zip(model.output_names, model.outputs, strict=True))
    given = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    probe = keras.Model(given, list(wanted.values()))
    said = probe(images.transpose(0, 2, 3, 1), training=False)
    listed = said if isinstance(said, (list, tuple)) else [said]
    values = {name: np.asarray(array) for name, array in zip(wanted, listed, strict=True)}
    return Tensors(title, "NHWC", values, tuple(model.output_names))


def module_outputs(model: OnnxModel) -> dict[str, str]:
    """The tensor that each module of the exported PyTorch model gives, by the module's path.

    PyTorch's exporter names nodes by the modules that call them: "/model.2/m/m.0/cv1/conv/Conv" is
    made in `model.2.m.0.cv1.conv`. A module gives what its last node makes. Outputs of the graph
    stand under their own names.
    """
    found: dict[str, str] = {}
    made = set(model.made)
    for node in model.proto.graph.node:
        if node.output[0] in made:
            path = module_path(node.name)
            for end in [i for i, letter in enumerate(path) if letter == "."] + [len(path)]:
                if path[:end]:
                    found[path[:end]] = node.output[0]
    return found | {port.name: port.name for port in model.outputs}


def module_path(node_name: str) -> str:
    """Path of the module that made a node: "/stem/stem.2/Mul" was made in `stem.2`."""
    parts: list[str] = []
    for part in node_name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part  # a child of a container repeats the container's name
        else:
            parts.append(part)
    return ".".join(parts)


def _as_nchw(array: np.ndarray, layout: Layout) -> np.ndarray:
    return array.transpose(TO_NCHW[layout]) if array.ndim == 4 else array
