"""ONNX to LiteRT by onnx2tf: float32, float16, dynamic range and full int8.

```python
crossing = to_litert("detector.onnx", ("float32", "int8"), calibration=images)
crossing.files["int8"].save("detector-int8.tflite")
print(crossing)                                  # float32 against onnxruntime
```

The float32 file is compared with onnxruntime in every conversion. Files have a fixed batch, take
and give maps channels last, and keep the names of inputs and outputs.

The other way to LiteRT, `to_keras` and `tfcompress.to_litert`, ends in the same operators and lets
the model be compressed in between; this one also takes what has no plain Keras layer.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bridges.handover import onnx2tf_worker
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.parity import ParityReport, compare_tensors, litert_tensors, onnx_tensors
from tfcompress import LiteModel
from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.isolation.program import run_program
from tfcompress.renamed import renamed_argument
from tfcompress.short_repr import short_repr

FORMATS = ("float32", "float16", "dynamic_int8", "int8")
"""Number formats, named as in `tfcompress.to_litert`."""
CALIBRATION_AT_MOST = 200
TOLERANCE = 1e-4
"""Of the float32 file: largest difference from onnxruntime, relative to the largest value of the
outputs where that is above 1."""


@short_repr
@dataclass(frozen=True)
class LiteCrossing:
    """LiteRT files that came from one ONNX graph.

    Attributes:
        files: LiteRT file by number format, in the requested order.
        parity: The float32 file against onnxruntime.
        output_names: The graph's name of each output, in the order of the files'.
    """

    files: Mapping[str, LiteModel]
    parity: ParityReport
    output_names: tuple[str, ...]

    def __str__(self) -> str:
        table = self.parity.table()
        sizes = [f"{name} {file.size_bytes / 1e6:.2f} MB" for name, file in self.files.items()]
        table.note(f"files: {', '.join(sizes)}")
        return str(table)


@renamed_argument("recipes", "formats")
def to_litert(
    source: OnnxModel | str | Path,
    formats: Sequence[str] = ("float32",),
    calibration: np.ndarray | None = None,
    images: np.ndarray | None = None,
    tolerance: float | None = TOLERANCE,
    seconds: float = 3600,
) -> LiteCrossing:
    """Convert a graph of one image input, and compare the float32 file with onnxruntime.

    Args:
        source: ONNX file or model; the file is not changed. A dynamic batch becomes 1.
        formats: Number formats, some of `FORMATS`. The old name `recipes` still works, with a
            warning.
        calibration: About 100 preprocessed images (N, C, H, W), needed for int8; of more than 200,
            200 evenly spaced ones are used.
        images: Images (B, C, H, W) for the comparison; default: the first of the calibration, or
            random numbers in [0, 1).
        tolerance: Largest allowed difference, relative to the largest value of the outputs if that
            is above 1; None: report the difference without an error.
        seconds: Time limit of the conversion.

    Raises:
        ConfigError: A number format is unknown.
        DataError: The file is broken, calibration for int8 is missing, or images have another size.
        LayerError: onnx2tf cannot convert the graph, or its result computes something else.
    """
    model = source if isinstance(source, OnnxModel) else OnnxModel.load(source)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(
            "formats", f"{unknown[0]!r} is unknown" if unknown else "there is none",
            f"use some of {', '.join(FORMATS)}",
        )  # fmt: skip
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise DataError(
            model.source,
            f"its inputs are {', '.join(str(port.shape) for port in model.inputs)}",
            "give a graph of one image input (B, C, H, W)",
        )
    samples = _checked_calibration(model, formats, calibration)
    fixed = _with_fixed_batch(model)
    if images is None:
        shape = (fixed.inputs[0].shape[0], *fixed.inputs[0].shape[1:])
        images = (
            np.random.default_rng(0).random(shape, np.float32)
            if samples is None
            else samples[: 2 * shape[0]]
        )
    wanted = onnx_tensors(fixed, images, inner=False)
    safe, old_names = _with_safe_outputs(fixed)
    made = _converted(safe, tuple(dict.fromkeys((*formats, "float32"))), samples, seconds)
    names = tuple(old_names[port.key] for port in made["float32"].outputs)
    atol = (tolerance or TOLERANCE) * max(
        1.0, *(float(np.abs(a).max()) for a in wanted.values.values())
    )
    found = litert_tensors(made["float32"], images, names)
    parity = compare_tensors(wanted, found, atol=atol, rtol=0)
    if tolerance is not None and not parity.passed:
        raise LayerError(
            model.source,
            f"what onnx2tf makes of it computes something else: {_differences(parity)}",
            "try bridges.handover.to_keras and tfcompress.to_litert",
        )
    return LiteCrossing({name: made[name] for name in formats}, parity, names)


def _checked_calibration(
    model: OnnxModel, formats: Sequence[str], calibration: np.ndarray | None
) -> np.ndarray | None:
    """(N, C, H, W) float32 of the graph's size."""
    if "int8" not in formats:
        return None
    if calibration is None or not len(calibration):
        raise DataError(
            "calibration",
            "format 'int8' measures ranges on images, and there are none",
            "pass calibration=, about 100 images as the model is fed",
        )
    images, wanted = np.asarray(calibration, np.float32), tuple(model.inputs[0].shape[1:])
    if images.shape[1:] != wanted:
        raise DataError(
            "calibration",
            f"its images have shape {images.shape[1:]}, but {model.source} takes {wanted}",
            "fit them to that size, channels first, as the model is fed",
        )
    if not np.isfinite(images).all():
        raise DataError("calibration", "it has values that are not finite", "remove those images")
    chosen = np.linspace(0, len(images) - 1, min(len(images), CALIBRATION_AT_MOST))
    return images[chosen.round().astype(int)]


def _with_fixed_batch(model: OnnxModel) -> OnnxModel:
    """A copy whose free batch is 1."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    names = {port.name for port in (*model.inputs, *model.outputs) if port.shape[0] is None}
    for item in (*proto.graph.input, *proto.graph.output):
        if item.name in names:
            item.type.tensor_type.shape.dim[0].dim_value = 1
    return OnnxModel(proto, model.source)


def _with_safe_outputs(model: OnnxModel) -> tuple[OnnxModel, dict[str, str]]:
    """A copy whose outputs have names that onnx2tf leaves alone, and the old name of each.

    Names of inner tensors ("/model.0/act/Mul_output_0") would come back changed.
    """
    new = {
        port.name: port.name if re.fullmatch(r"[A-Za-z]\w*", port.name) else f"tensor_{i:03d}"
        for i, port in enumerate(model.outputs)
    }
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for item in (*proto.graph.output, *proto.graph.value_info):
        item.name = new.get(item.name, item.name)
    return OnnxModel(proto, model.source), {safe: old for old, safe in new.items()}


def _converted(
    model: OnnxModel, formats: Sequence[str], samples: np.ndarray | None, seconds: float
) -> dict[str, LiteModel]:
    """Files by format, made in a process and a folder of their own."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model.save(folder / "model.onnx")
        outputs = [port.name for port in model.outputs]
        request = {"formats": list(formats), "outputs": outputs}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        if samples is not None:
            np.save(folder / "calibration.npy", samples.transpose(0, 2, 3, 1))
        environment = dict(os.environ)
        environment.pop("TF_USE_LEGACY_KERAS", None)
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        # onnx2tf calls onnxsim, which lies beside the interpreter
        environment["PATH"] = os.pathsep.join(
            (str(Path(sys.executable).parent), environment.get("PATH", ""))
        )
        done = run_program(
            onnx2tf_worker.__file__, folder=folder, environment=environment, deadline=seconds
        )
        if done.timed_out:
            raise LayerError(
                model.source,
                f"onnx2tf was not done after {seconds:g} s",
                "give it more time: seconds=",
            )
        missing = [format for format in formats if not (folder / f"{format}.tflite").is_file()]
        if done.problem or missing:
            reason = _reason(done.output + done.errors) or done.problem or "it gave no reason"
            raise LayerError(
                model.source,
                f"onnx2tf cannot convert it: {reason}",
                "replace the operation in the original, or try bridges.handover.to_keras",
            )
        return {
            format: LiteModel.from_bytes(
                (folder / f"{format}.tflite").read_bytes(), format, [model.inputs[0].name]
            )
            for format in formats
        }


def _differences(parity: ParityReport) -> str:
    """What differs, in words."""
    apart = [row for row in parity.outputs if not row.parity.passed]
    told = [f"{row.name} by up to {row.parity.max_abs:.3g}" for row in apart]
    return ", ".join(told + [f"{name}: {reason}" for name, reason in parity.unmatched])


def _reason(output: str) -> str:
    """The lines of a failed conversion that say why."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() and "cuda" not in line.lower()]
    return " | ".join((telling or lines)[-4:])[:500]
