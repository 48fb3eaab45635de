"""Models to ONNX: from PyTorch and from Keras, checked by onnx and run by onnxruntime at once.

PyTorch goes through its TorchScript exporter (`dynamo=False`): it writes one file and names tensors
by the modules that make them. Keras goes through its own `Model.export(format="onnx")`, which is
tf2onnx behind it.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from bridges.handover import HEADS
from bridges.handover.heads import INPUT, HeadSpec, with_plain_head
from bridges.handover.onnx_model import OnnxModel
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.evaluation.parity import Parity, compare_outputs

OPSET = 17
"""Version of ONNX's operators: HardSwish is one node in it, and every tool of the crossing reads
it."""
TOLERANCE = 1e-4
"""Largest difference from the original, relative to the largest output where that is above 1."""


def export_torch(
    module: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    path: str | Path,
    input_names: Sequence[str] = (INPUT,),
    output_names: Sequence[str] = (),
    dynamic_batch: bool = False,
    opset: int = OPSET,
    metadata: dict[str, str] | None = None,
) -> OnnxModel:
    """Write a PyTorch module as an ONNX file, and compare the file with it.

    Args:
        module: The module; a copy in evaluation mode on the CPU is exported.
        example: An input, batch first, or one for each input name; its shape is the file's.
        path: Output file; an existing file is replaced only when the new one is complete and
            agrees.
        input_names: Names of the inputs.
        output_names: Names of the outputs; default "output_0" and so on.
        dynamic_batch: Export a dynamic batch; otherwise the example's batch size.
        opset: Version of ONNX's operator set.
        metadata: Key-value texts to write into the file.

    Returns:
        The file, read back.

    Raises:
        LayerError: The module cannot be expressed in ONNX, or the written file gives other outputs.
        ConfigError: The number of names differs from the number of inputs or outputs.
    """
    inputs = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    inputs = tuple(tensor.detach().cpu() for tensor in inputs)
    deployed = copy.deepcopy(module).cpu().eval()
    wanted = _torch_outputs(deployed, inputs)
    outputs = list(output_names) or [f"output_{i}" for i in range(len(wanted))]
    _check_names("input_names", input_names, len(inputs))
    _check_names("output_names", outputs, len(wanted))
    free = {name: {0: "batch"} for name in (*input_names, *outputs)} if dynamic_batch else None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the exporter's own age, and of traced sizes
                torch.onnx.export(
                    deployed,
                    inputs,
                    str(file),
                    input_names=list(input_names),
                    output_names=outputs,
                    dynamic_axes=free,
                    opset_version=opset,
                    dynamo=False,
                )
        except Exception as error:  # the exporter has errors of many kinds
            raise LayerError(
                type(module).__name__,
                f"PyTorch cannot write it as ONNX: {' '.join(str(error).split())[:300]}",
                "replace the operation, or try another opset",
            ) from error
        proto = onnx.load(file)
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    model = OnnxModel.from_proto(proto, str(path))
    batches = [inputs]
    if dynamic_batch:
        batches.append(tuple(torch.cat((tensor, tensor.flip(0))) for tensor in inputs))
    for batch in batches:
        found = model.predict([tensor.numpy() for tensor in batch])
        _check_parity(type(module).__name__, _torch_outputs(deployed, batch), found)
    model.save(path)
    return model


def export_detector(
    detector: Detector,
    side: int,
    path: str | Path,
    parts: bool = False,
    dynamic_batch: bool = False,
    channels: int = 3,
    opset: int = OPSET,
) -> OnnxModel:
    """Write a fused detector up to its raw heads, with the metadata to decode them.

    Args:
        detector: The detector; it is not changed.
        side: Image side in pixels, a multiple of the largest stride.
        path: Output file.
        parts: Boxes and scores of a level as separate outputs; see `heads`.
        dynamic_batch: Export a dynamic batch; otherwise a batch of 1.
        channels: Number of image channels.
        opset: Version of ONNX's operator set.

    Raises:
        ConfigError: The side is not a multiple of the stride.
        LayerError: See `export_torch`.
    """
    largest = int(detector.head.stride.max())
    if side <= 0 or side % largest:
        raise ConfigError("side", f"it is {side}", f"give a multiple of {largest}")
    spec = HeadSpec.of(detector, side, parts)
    generator = torch.Generator().manual_seed(0)
    return export_torch(
        with_plain_head(detector, parts),
        torch.rand(1, channels, side, side, generator=generator),
        path,
        output_names=spec.outputs,
        dynamic_batch=dynamic_batch,
        opset=opset,
        metadata={HEADS: spec.to_json()},
    )


def export_keras(
    model: Any, path: str | Path, dynamic_batch: bool = False, opset: int = OPSET
) -> OnnxModel:
    """Write a Keras 3 model as an ONNX file, and compare the file with it.

    Inputs and outputs keep Keras' layout, channels last: (B, H, W, C).

    Args:
        model: Functional or Sequential model with fixed input sizes; the batch may be dynamic.
        path: Output file; an existing file is replaced only when the new one is complete and
            agrees.
        dynamic_batch: Export a dynamic batch; otherwise a batch of 1.
        opset: Version of ONNX's operator set.

    Raises:
        LayerError: The model has an input of free size, cannot be expressed, or what was written
            gives other outputs.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise LayerError(
            "model",
            f"it is a {type(model).__module__}.{type(model).__name__}",
            "give a Keras 3 model; tfcompress.to_keras3 makes one of a tf_keras model",
        )
    batch = None if dynamic_batch else 1
    signature = []
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise LayerError(
                f"input {tensor.name!r}",
                f"its shape {tuple(tensor.shape)} has free sizes",
                "build the model for one size",
            )
        shape = (batch, *tensor.shape[1:])
        signature.append(keras.InputSpec(shape=shape, dtype=tensor.dtype, name=tensor.name))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            model.export(
                file, format="onnx", verbose=False, input_signature=signature, opset_version=opset
            )
        except Exception as error:
            raise LayerError(
                f"model {model.name!r}",
                f"Keras cannot write it as ONNX: {' '.join(str(error).split())[:300]}",
                "replace the operation",
            ) from error
        onnx_model = OnnxModel.from_proto(onnx.load(file), str(path))
    generator = np.random.default_rng(0)
    count = 2 if dynamic_batch else 1
    feed = [generator.random((count, *t.shape[1:])).astype(t.dtype) for t in model.inputs]
    said = model(feed[0] if len(feed) == 1 else feed, training=False)
    wanted = [np.asarray(tensor) for tensor in keras.tree.flatten(said)]
    _check_parity(f"model {model.name!r}", wanted, onnx_model.predict(feed))
    onnx_model.save(path)
    return onnx_model


def _torch_outputs(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    with torch.inference_mode():
        said = module(*inputs)
    listed = [said] if isinstance(said, torch.Tensor) else list(said)
    return [tensor.numpy() for tensor in listed]


def _check_names(argument: str, names: Sequence[str], count: int) -> None:
    if len(names) != count or len(set(names)) != count:
        raise ConfigError(
            argument, f"they are {', '.join(names)}, for {count} tensors", "give one name each"
        )


def _check_parity(where: str, wanted: Sequence[np.ndarray], found: dict[str, np.ndarray]) -> None:
    for reference, (name, array) in zip(wanted, found.items(), strict=True):
        parity = compared(reference, array)
        if not parity.passed:
            raise LayerError(
                where,
                f"its ONNX file gives other values of {name!r} ({parity})",
                "look for an operation that depends on the data or on the mode, such as a branch",
            )


def compared(reference: np.ndarray, other: np.ndarray, tolerance: float = TOLERANCE) -> Parity:
    """Compare within a tolerance, relative to the largest value if that is above 1.

    Raises:
        DataError: The reference has values that are not finite.
    """
    largest = float(np.abs(reference).max(initial=0))
    if not np.isfinite(largest):
        raise DataError("outputs", "they are not finite", "look at the model's weights")
    return compare_outputs(reference, other, atol=tolerance * max(1.0, largest), rtol=0)
