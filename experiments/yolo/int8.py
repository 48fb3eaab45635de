"""make yolo-int8: a detector in every format, by mAP, size and latency on the same images.

MODEL is a detector's `.pt` of `yolo-train`; without it one is trained on DATA (or on generated
shapes) first. Ranges are calibrated on training images. Every row is scored on the test images with
the file read back; boxes and scores are outputs of their own, decoded in float.
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
from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.detector.cost import torch_runner
from bridges.yolov5.detector.evaluate import DetectionScore, evaluate_detector
from bridges.yolov5.detector.file import LoadedDetector, load_detector
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, end_run
from experiments.handover.crossing import as_inputs, evenly
from experiments.yolo.detection import (
    BAD_INPUT,
    DETECTION_SMOKE,
    DetectionConfig,
    check_classes,
    load_detection,
    start_detector,
    train_and_save,
)
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import Latency, measure_latency
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel
from tfcompress.litert.model import to_litert as keras_to_litert
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import plot_tradeoff, save_figure
from tfcompress.reporting.run import Run, environment, open_run
from tfcompress.reporting.tables import Table

Detect = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Config(DetectionConfig):
    """Quantize a detector."""

    model: str = ""
    """A detector's .pt file; empty trains one first."""
    start: str = "yolov5n"
    """What is trained where there is no MODEL: yolov5n, s, m, l or x."""
    calibration: int = 100
    """Training images that int8 is calibrated on, at most."""
    whole_levels: bool = True
    """Also int8 with boxes and scores of a level in one output, to see what the parts are for."""
    threads: int = 1

    def check(self) -> None:
        """Check what would fail after the training."""
        super().check()
        if self.calibration < 1:
            raise ConfigError("calibration", f"it is {self.calibration}", "give a number above 0")


@dataclass(frozen=True)
class Form:
    """A detector in one format.

    Attributes:
        detect: Images to decoded boxes.
        file: Its file.
        timed: What is timed: a `Runner` or a `LiteModel`.
    """

    detect: Detect
    file: Path
    timed: Any


def main(config: Config) -> dict[str, Any]:
    """Convert, score, time, report; the metrics."""
    run = open_run(config.root, "yolo-int8", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_detection(config, run)
    loaded = _given_or_trained(config, data, run)
    forms = write_forms(loaded, data, config, run)
    scores = {}
    for name, form in forms.items():
        with run.console.status(f"scoring {name}"):
            scores[name] = evaluate_detector(
                form.detect, data.splits[data.test_split], data.names, loaded.side
            )
    with run.console.status("timing every file, in turn"):
        before = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        latencies = dict(
            zip(
                forms,
                measure_latency([f.timed for f in forms.values()], threads=config.threads),
                strict=True,
            )
        )
        torch.set_num_threads(before)
    table = _table(forms, scores, latencies, data, loaded, config)
    points = [(n, latencies[n].median_ms, scores[n].map50) for n in forms]
    figure = plot_tradeoff(points, "latency of one image (ms)", "mAP50")
    write_page(
        run.path("report.html"),
        "A detector in every format",
        "mAP, size and latency of each file on the same images.",
        [
            Section(
                "Formats",
                tables=(table,),
                pictures=(
                    (
                        "mAP50 against latency",
                        save_figure(figure, run.path("plots", "formats.png")),
                    ),
                ),
            )
        ],
        compared(config),
        environment(),
    )
    run.print(table)
    metrics = {
        name: {
            "test": scores[name].to_dict(),
            "size_bytes": form.file.stat().st_size,
            "latency": latencies[name].to_dict(),
        }
        for name, form in forms.items()
    }
    return end_run(run, {"formats": metrics})


def write_forms(
    loaded: LoadedDetector, data: DetectionData, config: Config, run: Run
) -> dict[str, Form]:
    """Write every file, read it back; by name, in the order of the table."""
    detector, side = loaded.detector, loaded.side
    shape = (3, side, side)
    pt = Path(config.model) if config.model else run.path("model.pt")
    decoded: Detect = lambda images: detector.decode(detector(images))  # noqa: E731
    forms = {"PyTorch": Form(decoded, pt, torch_runner(detector, shape, config.threads))}
    file = run.path("model.onnx")
    graph = export_detector(detector, side, file, parts=True)
    on_onnx = OnnxDetector.load(file)
    forms["ONNX"] = Form(on_onnx, file, on_onnx.runner(config.threads))
    images = as_inputs(evenly(data.splits["train"], config.calibration), side)
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


def _given_or_trained(config: Config, data: DetectionData, run: Run) -> LoadedDetector:
    """The detector of MODEL, or a new one.

    Raises:
        ConfigError: MODEL's classes are not the data's.
    """
    if not config.model:
        detector = start_detector(replace(config, model=config.start), data.names, run)
        train_and_save(detector, data, config, run, "detector")
        return load_detector(run.path("model.pt"))
    loaded = load_detector(config.model)
    check_classes(data.names, loaded.detector.names, config.model)
    return loaded


def _table(
    forms: Mapping[str, Form],
    scores: Mapping[str, DetectionScore],
    latencies: Mapping[str, Latency],
    data: DetectionData,
    loaded: LoadedDetector,
    config: Config,
) -> Table:
    base = next(iter(forms))
    images = len(data.splits[data.test_split])
    table = Table(
        ("format", "mAP50", "− PyTorch", "mAP50-95", "− PyTorch", "file", "latency", "speed-up"),
        title=f"{images} {data.test_split} images at {loaded.side} pixels, "
        f"{config.threads} thread(s)",
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


if __name__ == "__main__":
    run_experiment(Config, main, {**DETECTION_SMOKE, "calibration": 20}, user_errors=BAD_INPUT)
