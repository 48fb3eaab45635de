"""Runs onnx2tf in a process and a folder of its own; `to_litert` starts it.

Importing onnx2tf seeds every generator, turns on deterministic operators and sets
`TF_USE_LEGACY_KERAS`; converting overwrites the input file, and looks for calibration images on the
net unless a file of a certain name lies in the working directory. So nothing else runs here, and
nothing of this package is imported.

The working directory holds `model.onnx`, `request.json` (formats, names of the outputs) and,
for int8, `calibration.npy`, (N, H, W, C) float32. It leaves `<format>.tflite` for each format.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WANTED_BY_ONNX2TF = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""Without this file it asks the net, even for float."""


def main() -> None:
    """Convert what the working directory asks for."""
    request = json.loads(Path("request.json").read_text(encoding="utf-8"))
    generator = np.random.default_rng(0)
    np.save(WANTED_BY_ONNX2TF, generator.random((20, 128, 128, 3)).astype(np.float32))
    import onnx2tf

    onnx2tf.convert(
        input_onnx_file_path="model.onnx",
        output_folder_path="saved",
        output_signaturedefs=True,
        non_verbose=True,
    )
    for format in request["formats"]:
        target = Path(f"{format}.tflite")
        if format in ("float32", "float16"):
            shutil.copy(f"saved/model_{format}.tflite", target)
        else:
            target.write_bytes(quantized(format, request["outputs"]))


def quantized(format: str, outputs: list[str]) -> bytes:
    """A file of integer weights, and integers all through for int8, from the saved model.

    onnx2tf writes such files too, but the dynamic one has no signature, and the int8 one has lost
    the names of its outputs. In the saved model they are numbered; that the numbers follow the
    order of the graph is checked against the float32 file, which has the names.
    """
    import tensorflow as tf

    runner = tf.lite.Interpreter("saved/model_float32.tflite").get_signature_runner()
    (name,) = runner.get_input_details()
    saved = tf.saved_model.load("saved").signatures["serving_default"]
    (spec,) = saved.structured_input_signature[1].values()
    keys = dict(zip(outputs, sorted(saved.structured_outputs, key=_numbered), strict=True))
    if set(keys.values()) == set(outputs):
        keys = {output: output for output in outputs}

    @tf.function(input_signature=[tf.TensorSpec(spec.shape, spec.dtype, name=name)])
    def serve(images: Any) -> dict[str, Any]:
        said = saved(**{spec.name: images})
        return {output: said[key] for output, key in keys.items()}

    probe = np.random.default_rng(1).random(spec.shape).astype(np.float32)
    named = runner(**{name: probe})
    for output, array in serve(tf.constant(probe)).items():
        scale = max(1.0, float(np.abs(named[output]).max()))
        if named[output].shape != array.shape or np.abs(named[output] - array).max() > 1e-3 * scale:
            raise RuntimeError(f"error: the saved model gives something else as {output!r}")

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], tf.Module()
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "int8":
        images = np.load("calibration.npy")

        def samples() -> Iterator[dict[str, Any]]:
            for image in images:
                yield {name: image[None]}

        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,  # what has no integer kernel stays in float
        ]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _numbered(key: str) -> tuple[str, int]:
    """Sorts "output_10" behind "output_9"."""
    stem, _, number = key.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (key, 0)


if __name__ == "__main__":
    main()
