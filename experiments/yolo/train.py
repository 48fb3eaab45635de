"""make yolo-train: train a YOLOv5 detector on boxes in YOLO's layout, from scratch or from weights.

DATA is a data.yaml or its folder; without it, images of textured shapes are generated. With a
teacher (T_WEIGHTS, another detector's file) its logits and features are distilled; `make
yolo-distill` compares that with plain training. The best epoch by mAP50-95 on validation is kept,
read back, and measured on the test images.

Takes about 20 minutes on one of two CPU cores (80 epochs of 16 s on 200 generated images). Prints
mAP of each class, and cost. docs/measurements.md ("A detector from scratch"): 205 images of blood
cells took 16 minutes (80 epochs of 11.5 s) and gave 0.8932 mAP50.
"""

from dataclasses import dataclass, replace

from bridges.yolov5.detector.file import load_detector
from experiments.common.program import Program
from experiments.common.report import Report
from experiments.yolo.detection import BAD_INPUT, DETECTION_SMOKE, cost_of, score_detector
from experiments.yolo.study import Study, quality_section
from experiments.yolo.teaching import TaughtConfig, taught_by, with_anchors_of
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Train the detector."""


def main(config: Config, run: Run) -> Report:
    """Train, save, score."""
    study = Study.of(config, run)
    student, settings, extra = study.start(), config.settings(), []
    if config.teacher:
        teacher = study.read(config.teacher, "teacher")
        student = with_anchors_of(student, teacher)
        settings = replace(settings, fit_anchors=False)
        extra = [taught_by(teacher, student, config)]
    result = study.train(student, "detector", "model", settings, extra)
    run.write_history(result.history)
    with run.console.status("measuring the file on the test images"):
        loaded = load_detector(run.path("model.pt"))
        detector, score = loaded.detector, score_detector(loaded, study.data)
        costs, numbers = cost_of({detector.architecture.name: detector}, config.side)
    split = study.data.test_split
    return Report(
        "YOLOv5 detector",
        f"mAP50 {score.map50:.4f} and mAP50-95 {score.map:.4f} on {score.images} {split} "
        f"images; epoch {result.best_epoch} of {config.epochs} was the best.",
        (score.table(f"{score.images} {split} images, the file read back"), costs),
        (
            quality_section(run, detector, score, study.data.splits[split], config.side),
            Section("Cost", tables=(costs,)),
            study.training({detector.architecture.name: list(result.history)}),
        ),
        {"test": score.to_dict(), "cost": numbers, "best_epoch": result.best_epoch},
    )


PROGRAM = Program("yolo-train", Config, main, DETECTION_SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
