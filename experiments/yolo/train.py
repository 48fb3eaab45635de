"""make yolo-train: train a YOLOv5 detector on boxes in YOLO's layout, from scratch or from weights.

With a teacher (T_WEIGHTS, another detector's file) its logits and features are imitated; the table
of make yolo-distill says what that gives. Without DATA it draws textured shapes. The model is
chosen by mAP50-95 on validation; the report is made on the test images, with the file read back.
"""

from dataclasses import dataclass, replace
from typing import Any

from bridges.yolov5.detector.file import load_detector
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, end_run, history_section
from experiments.yolo.detection import (
    BAD_INPUT,
    DETECTION_SMOKE,
    cost_of,
    load_detection,
    quality_section,
    score_file,
    start_detector,
    train_and_save,
)
from experiments.yolo.teaching import TaughtConfig, read_detector, taught_by, with_anchors_of
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import environment, open_run


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Train the detector."""


def main(config: Config) -> dict[str, Any]:
    """Train, save, score, report; the metrics."""
    run = open_run(config.root, "yolo-train", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_detection(config, run)
    student, settings, extra = start_detector(config, data.names, run), config.settings(), []
    if config.teacher:
        teacher = read_detector(config.teacher, data.names, "teacher", config, run)
        student = with_anchors_of(student, teacher)
        settings, extra = (
            replace(settings, fit_anchors=False),
            [taught_by(teacher, student, config)],
        )
    result = train_and_save(
        student, data, config, run, "detector", settings=settings, extra_losses=extra
    )
    run.write_history(result.history)
    with run.console.status("measuring the file on the test images"):
        score = score_file(run, "model.pt", data, data.test_split)
        detector = load_detector(run.path("model.pt")).detector
        costs, numbers = cost_of({detector.architecture.name: detector}, config.side)
    table = score.table(f"{score.images} {data.test_split} images, the file read back")
    write_page(
        run.path("report.html"),
        "YOLOv5 detector",
        f"mAP50 {score.map50:.4f} and mAP50-95 {score.map:.4f} on {score.images} "
        f"{data.test_split} images; epoch {result.best_epoch} of {config.epochs} was the best.",
        [
            quality_section(run, detector, score, data.splits[data.test_split], config.side),
            Section("Cost", tables=(costs,)),
            history_section(
                run,
                {detector.architecture.name: list(result.history)},
                metrics={"map": "mAP50-95", "map50": "mAP50", "loss": "loss"},
            ),
        ],
        compared(config),
        environment(),
    )
    run.print(table, costs)
    return end_run(run, {"test": score.to_dict(), "cost": numbers, "best_epoch": result.best_epoch})


if __name__ == "__main__":
    run_experiment(Config, main, DETECTION_SMOKE, user_errors=BAD_INPUT)
