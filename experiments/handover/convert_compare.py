"""make convert-compare: a detector from PyTorch to ONNX, LiteRT and Keras, compared on images.

MODEL is a detector's `.pt`, IMAGES an image or a folder (without it, generated shapes). Every form
runs on the same images; boxes and scores, as fractions, decide, and the layers in between tell
where two forms part. The exit code is 1 where a float32 form is beyond the tolerance; int8 is
stated. Files go to `runs/convert-compare/RUN/`.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

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
from experiments.common.program import run_experiment
from experiments.handover.crossing import images_of
from experiments.yolo.detect import SMOKE_MODEL
from experiments.yolo.detection import BAD_INPUT, DETECTION_SMOKE
from experiments.yolo.train import Config as TrainConfig
from experiments.yolo.train import main as train
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
    """A detector's .pt file."""
    images: str = ""
    """An image, or a folder of images; empty: generated shapes."""
    side: int = 0
    """Side of the square that images are fitted into; 0: what the detector was trained on."""
    compared: int = 4
    """Images that the forms are compared on."""
    calibration: int = 100
    """Images that int8 is calibrated on, at most."""
    tolerance: float = 1e-4
    """Largest difference of a box's side or a score, both as fractions."""
    layers: bool = True
    """Also look into LiteRT, layer by layer; it takes a second conversion."""
    root: str = "runs"
    """Folder of all runs."""
    run: str = "default"
    """Name of the run."""

    def check(self) -> None:
        """Check what would fail after the conversions."""
        if not self.model:
            raise ConfigError("MODEL", "it is empty", "give MODEL=path/to/model.pt")
        for name in ("compared", "calibration", "tolerance"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, f"it is {getattr(self, name)}", "give a number above 0")


def main(config: Config) -> dict[str, ParityReport]:
    """Convert, compare, print; the reports by form.

    Raises:
        SystemExit: With code 1, where a float32 form is beyond the tolerance.
    """
    console = Console()
    if config.model == SMOKE_MODEL:
        config = _with_smoke_model(config)
    loaded = load_detector(config.model)
    side = config.side or loaded.side
    images = images_of(config.images, side, max(config.compared, config.calibration))
    calibration, images = images[: config.calibration], images[: config.compared]
    out = Path(config.root) / "convert-compare" / config.run
    with console.status("PyTorch to ONNX"):
        graph = export_detector(loaded.detector, side, out / "model.onnx")
    spec = HeadSpec.of(loaded.detector, side, parts=False)
    crossing = _Crossing(loaded.detector, graph, spec, images, config)
    reports = {"ONNX": crossing.onnx()}
    with console.status("ONNX to Keras"):
        crossed = to_keras(graph, images)
    save_plain(crossed.model, out / "model.keras")
    reports["Keras"] = crossing.keras(crossed.model, crossed.layers)
    with console.status("ONNX to LiteRT, float32 and int8 (some minutes)"):
        files = to_litert(graph, ("float32", "int8"), calibration, images, tolerance=None).files
    for format, file in files.items():
        LiteDetector(file, spec).save(out / f"model-{format}.tflite")
        tensors = litert_tensors(file, images, spec.outputs, f"LiteRT {format}")
        reports[f"LiteRT {format}"] = crossing.report(tensors)
    if config.layers:
        with console.status("ONNX to LiteRT, with every block's output"):
            reports["LiteRT float32, layer by layer"] = crossing.litert_layers()
    table = _summary(reports, spec, config)
    for report in reports.values():
        console.print(str(report.table()), highlight=False, soft_wrap=True)
    console.print(str(table), highlight=False, soft_wrap=True)
    write_text(
        out / "parity.json", to_json({name: report.to_dict() for name, report in reports.items()})
    )
    console.print(
        f"model.onnx, model.keras, model-*.tflite and parity.json in {out}/", style="bold",
        highlight=False,
    )  # fmt: skip
    if not all(_passed(report, config) for name, report in reports.items() if _judged(name)):
        raise SystemExit(1)
    return reports


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


def _with_smoke_model(config: Config) -> Config:
    trained = TrainConfig(**DETECTION_SMOKE, root=config.root, run="smoke", resume=True)
    train(trained)
    folder: Sequence[str] = (config.root, "yolo-train", "smoke", "model.pt")
    return replace(config, model=str(Path(*folder)))


SMOKE = {"model": SMOKE_MODEL, "calibration": 20, "layers": False}

if __name__ == "__main__":
    run_experiment(Config, main, SMOKE, user_errors=BAD_INPUT)
