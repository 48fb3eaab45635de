"""make convert-compare: a detector from PyTorch to ONNX, LiteRT and Keras, compared on images.

MODEL is a detector's `.pt`, IMAGES an image or a folder (without it, generated shapes). Every form
runs on the same images. Boxes and scores, as fractions, decide; inner layers show where two forms
part. The exit code is 1 where a float32 form is beyond the tolerance; int8 is only reported. Files
go to `runs/convert-compare/RUN/`.

Takes some minutes on two CPU cores, most of them in onnx2tf. Prints the largest difference of each
form.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bridges.handover.detectors import LiteDetector
from bridges.handover.export import export_detector
from bridges.handover.heads import HeadSpec, with_plain_head
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.parity import (
    ParityReport,
    Tensors,
    compare_tensors,
    keras_tensors,
    litert_tensors,
    module_outputs,
    onnx_tensors,
    torch_tensors,
    with_boxes,
)
from bridges.handover.to_keras import to_keras
from bridges.handover.to_litert import to_litert
from bridges.yolov5.detector.file import load_detector
from experiments.common.program import SMOKE_MODEL, Output, Program
from experiments.common.report import Report
from experiments.handover.crossing import images_of
from experiments.yolo.detect import make_smoke_detector
from experiments.yolo.detection import BAD_INPUT
from models.yolov5.build import Detector
from tfcompress.atomic import write_text
from tfcompress.errors import ConfigError
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.run import to_json
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Convert a detector and compare its forms."""

    model: str = ""
    """Detector's .pt file."""
    images: str = ""
    """Image, or folder of images; empty: generated shapes."""
    side: int = 0
    """Side of the square that images are fitted into; 0: what the detector was trained on."""
    compared: int = 4
    """Number of images that the forms are compared on."""
    calibration: int = 100
    """Number of images that int8 is calibrated on, at most."""
    tolerance: float = 1e-4
    """Largest difference of a box's side or a score, both as fractions."""
    layers: bool = True
    """Whether LiteRT is also compared layer by layer, which takes a second conversion."""
    root: str = "runs"
    """Folder of all runs; files go to `root/convert-compare/run/`."""
    run: str = "default"
    """Name of the run."""

    def check(self) -> None:
        """Check what would only fail after the conversions."""
        if not self.model:
            raise ConfigError("MODEL", "it is empty", "give MODEL=path/to/model.pt")
        for name in ("compared", "calibration", "tolerance"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, f"it is {getattr(self, name)}", "give a number above 0")


def main(config: Config, out: Output) -> Report:
    """Convert and compare; the exit code is 1 where a float32 form is beyond the tolerance."""
    console = out.console
    loaded = load_detector(config.model)
    side = config.side or loaded.side
    images = images_of(config.images, side, max(config.compared, config.calibration))
    calibration, images = images[: config.calibration], images[: config.compared]
    with console.status("PyTorch to ONNX"):
        graph = export_detector(loaded.detector, side, out.path("model.onnx"))
    spec = HeadSpec.of(loaded.detector, side, parts=False)
    crossing = _Crossing(loaded.detector, graph, spec, images, config)
    reports = {"ONNX": crossing.onnx()}
    with console.status("ONNX to Keras"):
        crossed = to_keras(graph, images)
    save_plain(crossed.model, out.path("model.keras"))
    reports["Keras"] = crossing.keras(crossed.model, crossed.layers)
    with console.status("ONNX to LiteRT, float32 and int8 (some minutes)"):
        files = to_litert(graph, ("float32", "int8"), calibration, images, tolerance=None).files
    for format, file in files.items():
        LiteDetector(file, spec).save(out.path(f"model-{format}.tflite"))
        tensors = litert_tensors(file, images, spec.outputs, f"LiteRT {format}")
        reports[f"LiteRT {format}"] = crossing.report(tensors)
    if config.layers:
        with console.status("ONNX to LiteRT, with every block's output"):
            reports["LiteRT float32, layer by layer"] = crossing.litert_layers()
    metrics = {name: report.to_dict() for name, report in reports.items()}
    write_text(out.path("parity.json"), to_json(metrics))
    passed = all(_passed(report, config) for name, report in reports.items() if _judged(name))
    return Report(
        headline=f"model.onnx, model.keras, model-*.tflite and parity.json in {out.folder}/",
        tables=(*(report.table() for report in reports.values()), _summary(reports, spec, config)),
        metrics=metrics,
        exit_code=0 if passed else 1,
    )


@dataclass
class _Crossing:
    """One detector on its way, against PyTorch or, inside LiteRT, against ONNX."""

    detector: Detector
    graph: OnnxModel
    spec: HeadSpec
    images: np.ndarray
    config: Config

    def __post_init__(self) -> None:
        module = with_plain_head(self.detector)
        self.wanted = with_boxes(torch_tensors(module, self.images, self.spec.outputs), self.spec)
        self.by_module = module_outputs(self.graph)
        self.judged = {name: name for name in self.wanted.outputs}

    def report(
        self, found: Tensors, names: dict[str, str] | None = None, inner: bool = False
    ) -> ParityReport:
        """A form against PyTorch; without `inner`, by heads, boxes and scores alone."""
        wanted = self.wanted
        if not inner:
            kept = (*self.spec.outputs, *wanted.outputs)
            wanted = replace(wanted, values={name: wanted.values[name] for name in kept})
        return compare_tensors(
            wanted,
            with_boxes(found, self.spec),
            names,
            self.config.tolerance,
            self.config.tolerance,
        )

    def onnx(self) -> ParityReport:
        """Every module of PyTorch against what its nodes make."""
        return self.report(
            onnx_tensors(self.graph, self.images), {**self.by_module, **self.judged}, inner=True
        )

    def keras(self, model: Any, layers: dict[str, str]) -> ParityReport:
        """Every module of PyTorch against the Keras layer of what it gives."""
        tensors = keras_tensors(model, self.images, layers)
        return self.report(tensors, {**self.by_module, **self.judged}, inner=True)

    def litert_layers(self) -> ParityReport:
        """ONNX against LiteRT at the end of every block: a file that gives them all."""
        blocks = [f"model.{row}" for row in range(len(self.detector.model))]
        inner = [self.by_module[block] for block in blocks if block in self.by_module]
        probe = self.graph.with_outputs(inner)
        made = to_litert(probe, images=self.images, tolerance=None)
        title = "LiteRT float32, layer by layer"
        found = litert_tensors(made.files["float32"], self.images, made.output_names, title)
        wanted = onnx_tensors(probe, self.images, inner=False)
        return compare_tensors(
            with_boxes(wanted, self.spec), with_boxes(found, self.spec),
            atol=self.config.tolerance, rtol=self.config.tolerance,
        )  # fmt: skip


def _judged(name: str) -> bool:
    return "int8" not in name


def _passed(report: ParityReport, config: Config) -> bool:
    """Boxes and scores absolutely; inner layers have a tolerance relative to their values too."""
    return report.passed and report.max_abs <= config.tolerance


def _summary(reports: dict[str, ParityReport], spec: HeadSpec, config: Config) -> Table:
    table = Table(
        ("form", "against", "boxes |d|", "scores |d|", "boxes SNR", "first apart", "passed"),
        title=f"A detector of {len(spec.names)} classes at {spec.side} pixels, tolerance "
        f"{config.tolerance:g}",
    )  # fmt: skip
    for name, report in reports.items():
        boxes, scores = report.outputs
        table.add(
            name,
            report.reference,
            f"{boxes.parity.max_abs:.2g}",
            f"{scores.parity.max_abs:.2g}",
            f"{boxes.parity.snr_db:.1f} dB",
            report.first_apart or "none",
            ("yes" if _passed(report, config) else "NO") if _judged(name) else "stated",
        )
    table.note(
        "|d|: the largest difference, boxes and scores as fractions; the tables above have the rest"
    )
    return table


def complete(config: Config) -> Config:
    """The config with the model of `--smoke`."""
    if config.model != SMOKE_MODEL:
        return config
    return replace(config, model=str(make_smoke_detector(config.root) / "model.pt"))


SMOKE = {"model": SMOKE_MODEL, "calibration": 20, "layers": False}
PROGRAM = Program("convert-compare", Config, main, SMOKE, complete, False, BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
