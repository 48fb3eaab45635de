"""make yolo-int8: a detector in every format, by mAP, size and latency on the same images.

MODEL is a detector's `.pt` of `yolo-train`; without it one is trained on DATA (or on generated
shapes) first. Ranges are calibrated on training images. Every row is scored on the test images with
the file read back; boxes and scores are separate outputs, decoded in float.

Takes about 25 minutes on two CPU cores without MODEL (80 epochs of 16 s on 200 generated images),
some minutes with it. Prints mAP, size and latency of every file. docs/measurements.md ("The
detector in int8") has the numbers on blood cells: int8 cost 0.16 points of mAP50 and was 6.6 times
as fast as PyTorch.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bridges.handover.detectors import LiteDetector, OnnxDetector
from bridges.handover.export import export_detector
from bridges.handover.heads import HeadSpec
from bridges.handover.to_keras import to_keras
from bridges.handover.to_litert import FORMATS, to_litert
from bridges.yolov5.detector.cost import torch_runner
from bridges.yolov5.detector.evaluate import DetectionScore, evaluate_detector
from bridges.yolov5.detector.file import LoadedDetector, load_detector
from experiments.common.program import Program
from experiments.common.report import Report, picture
from experiments.handover.crossing import as_inputs, evenly
from experiments.yolo.detection import (
    BAD_INPUT,
    DETECTION_SMOKE,
    DetectionConfig,
    check_names,
)
from experiments.yolo.study import Study
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import Latency, measure_latency
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel
from tfcompress.litert.model import to_litert as keras_to_litert
from tfcompress.reporting.page import Finding, Section
from tfcompress.reporting.plots import plot_tradeoff
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

Detect = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Config(DetectionConfig):
    """Quantize a detector."""

    model: str = ""
    """Detector's .pt file; empty: one is trained first."""
    start: str = "yolov5n"
    """Architecture to train where there is no MODEL: yolov5n, s, m, l or x."""
    calibration: int = 100
    """Number of training images that int8 is calibrated on, at most."""
    whole_levels: bool = True
    """Whether int8 is also tried with boxes and scores in one output, which shares one scale."""
    threads: int = 1
    """Threads that latency is measured with."""

    def check(self) -> None:
        """Check what would only fail after the training."""
        super().check()
        if self.calibration < 1:
            raise ConfigError("calibration", f"it is {self.calibration}", "give a number above 0")


@dataclass(frozen=True)
class Form:
    """A detector in one format.

    Attributes:
        detect: Function from images to decoded boxes.
        file: File of the format.
        timed: Object to time: a `Runner` or a `LiteModel`.
    """

    detect: Detect
    file: Path
    timed: Any


def main(config: Config, run: Run) -> Report:
    """Convert, score, time."""
    study = Study.of(config, run)
    data, loaded = study.data, _given_or_trained(study)
    forms = write_forms(study, loaded)
    images = data.splits[data.test_split]
    scores = {}
    for name, form in forms.items():
        with run.console.status(f"scoring {name}"):
            scores[name] = evaluate_detector(form.detect, images, data.names, loaded.side)
    with run.console.status("timing every file, in turn"):
        before = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        timed = measure_latency([form.timed for form in forms.values()], threads=config.threads)
        latencies = dict(zip(forms, timed, strict=True))
        torch.set_num_threads(before)
    where = f"{len(images)} {data.test_split} images at {loaded.side} pixels"
    table = _table(forms, scores, latencies, f"{where}, {config.threads} thread(s)")
    points = [(n, latencies[n].median_ms, scores[n].map50) for n in forms]
    best = max(forms, key=lambda name: scores[name].map50)
    found = Finding("Best mAP50", f"{scores[best].map50:.4f}", best)
    figure = plot_tradeoff(points, "latency of one image (ms)", "mAP50")
    pictures = (picture(run, "formats", figure, "mAP50 against latency"),)
    metrics = {
        name: {
            "test": scores[name].to_dict(),
            "size_bytes": form.file.stat().st_size,
            "latency": latencies[name].to_dict(),
        }
        for name, form in forms.items()
    }
    return Report(
        "A detector in every format",
        "mAP, size and latency of each file on the same images.",
        (table,),
        (Section("Formats", (), (table,), pictures, (found,)),),
        {"formats": metrics},
    )


def write_forms(study: Study, loaded: LoadedDetector) -> dict[str, Form]:
    """Write every file, read it back; by name, in the order of the table."""
    config, run = study.config, study.run
    detector, side = loaded.detector, loaded.side
    shape = (3, side, side)
    pt = Path(config.model) if config.model else run.path("model.pt")
    decoded: Detect = lambda images: detector.decode(detector(images))  # noqa: E731
    forms = {"PyTorch": Form(decoded, pt, torch_runner(detector, shape, config.threads))}
    file = run.path("model.onnx")
    graph = export_detector(detector, side, file, parts=True)
    on_onnx = OnnxDetector.load(file)
    forms["ONNX"] = Form(on_onnx, file, on_onnx.runner(config.threads))
    images = as_inputs(evenly(study.data.splits["train"], config.calibration), side)
    with run.console.status("ONNX to LiteRT by onnx2tf (some minutes)"):
        crossing = to_litert(graph, FORMATS, images)
    run.print(crossing)
    lite = {f"LiteRT {format}": model for format, model in crossing.files.items()}
    with run.console.status("ONNX to Keras, and int8 from there"):
        crossed = to_keras(graph, images[:2]).model
        save_plain(crossed, run.path("model.keras"))
        lite["LiteRT int8, by way of Keras"] = keras_to_litert(
            crossed, "int8", images.transpose(0, 2, 3, 1)
        )
    spec = on_onnx.spec
    for name, model in lite.items():
        forms[name] = _lite_form(name, model, spec, run)
    if config.whole_levels:
        with run.console.status("int8 with whole levels"):
            whole = export_detector(detector, side, run.path("whole-levels.onnx"), parts=False)
            model = keras_to_litert(
                to_keras(whole, images[:2]).model, "int8", images.transpose(0, 2, 3, 1)
            )
        name = "LiteRT int8, by way of Keras, whole levels"
        forms[name] = _lite_form(name, model, HeadSpec.of(detector, side, parts=False), run)
    return forms


def _lite_form(name: str, model: LiteModel, spec: HeadSpec, run: Run) -> Form:
    stem = name.removeprefix("LiteRT ").replace(", ", "-").replace(" ", "-")
    path = run.path(f"model-{stem}.tflite")
    LiteDetector(model, spec).save(path)
    back = LiteDetector.load(path)
    return Form(back, path, back.model)


def _given_or_trained(study: Study) -> LoadedDetector:
    """The detector of MODEL, or a new one.

    Raises:
        ConfigError: MODEL's classes are not the data's.
    """
    config = study.config
    if not config.model:
        new = replace(study, config=replace(config, model=config.start))
        new.train(new.start(), "detector", "model")
        return load_detector(study.run.path("model.pt"))
    loaded = load_detector(config.model)
    check_names(study.data.names, loaded.detector.names, config.model)
    return loaded


def _table(
    forms: Mapping[str, Form],
    scores: Mapping[str, DetectionScore],
    latencies: Mapping[str, Latency],
    title: str,
) -> Table:
    base = next(iter(forms))
    table = Table(
        ("format", "mAP50", "− PyTorch", "mAP50-95", "− PyTorch", "file", "latency", "speed-up"),
        title=title,
    )
    for name, form in forms.items():
        score, latency = scores[name], latencies[name]
        table.add(
            name,
            f"{score.map50:.4f}",
            f"{score.map50 - scores[base].map50:+.4f}",
            f"{score.map:.4f}",
            f"{score.map - scores[base].map:+.4f}",
            f"{form.file.stat().st_size / 1e6:.2f} MB",
            f"{latency.median_ms:.2f} ms",
            f"{latencies[base].median_ms / latency.median_ms:.2f}x",
        )
    table.note("latency: one image, median of rounds in turn, without decoding and suppression")
    return table


SMOKE = {**DETECTION_SMOKE, "calibration": 20}
PROGRAM = Program("yolo-int8", Config, main, SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
