"""make yolo-distill: a detector taught by a larger one, beside plain training for the same epochs.

TEACHER and WEIGHTS (the student) are detectors' files, pruned ones too; without TEACHER a
`teacher_model` is trained first, without WEIGHTS the student is a new MODEL, with the teacher's
anchors. `--variants` are plain (the control), taught (logits and features), logits, and features.
The same code teaches in make yolo-train T_WEIGHTS=... and make yolo-prune TEACHER=....
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.distill.teacher import DistillSettings, check_teacher
from bridges.yolov5.prune.rounds import settings_of_round
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, end_run, history_section
from experiments.yolo.detection import (
    BAD_INPUT,
    DETECTION_SMOKE,
    comparison_table,
    cost_of,
    load_detection,
    score_file,
    start_detector,
    train_and_save,
)
from experiments.yolo.teaching import TaughtConfig, read_detector, taught_by, with_anchors_of
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import plot_tradeoff, save_figure
from tfcompress.reporting.run import Run, environment, open_run

VARIANTS = ("plain", "taught", "logits", "features")


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Teach a detector, and train it without a teacher."""

    weights: str = ""
    """The student's .pt file; empty: a new MODEL."""
    teacher_model: str = "yolov5s"
    """What is trained first where there is no TEACHER."""
    teacher_epochs: int = 80
    """Epochs of that."""
    variants: tuple[str, ...] = ("plain", "taught")
    """What is trained: plain, taught, logits, features."""

    def check(self) -> None:
        """Check what would only show after hours."""
        super().check()
        self.settings(self.teacher_epochs)
        for name in self.variants:
            if name not in VARIANTS:
                raise ConfigError("variants", f"{name!r} is unknown", f"use {', '.join(VARIANTS)}")
            self.parts(name)

    def parts(self, variant: str) -> DistillSettings | None:
        """What a variant imitates.

        Raises:
            ConfigError: Nothing would be left.
        """
        whole = self.distillation()
        return {
            "plain": lambda: None,
            "taught": lambda: whole,
            "logits": lambda: replace(whole, features=0.0),
            "features": lambda: replace(whole, logits="none"),
        }[variant]()


def main(config: Config) -> dict[str, Any]:
    """Train the student with and without a teacher, compare, report; the metrics."""
    run = open_run(config.root, "yolo-distill", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_detection(config, run)
    if config.weights:
        student = read_detector(config.weights, data.names, "weights", config, run)
        teacher = _teacher(config, data, run, student)
        settings = settings_of_round(config.settings(), config.epochs)
        save_detector(run.path("start.pt"), student, config.side, {"from": config.weights})
    else:
        student = start_detector(config, data.names, run)
        teacher = _teacher(config, data, run, student)
        student = with_anchors_of(student, teacher)
        settings = replace(config.settings(), fit_anchors=False)
    check_teacher(teacher, student)
    histories = {}
    for name in config.variants:
        run.print(f"{name}: {config.epochs} epochs", style="bold")
        parts = config.parts(name)
        extra = [taught_by(teacher, student, config, parts)] if parts else []
        result = train_and_save(student, data, config, run, name, f"{name}.pt", settings, extra)
        histories[name] = list(result.history)
    return _report(config, run, data, histories)


def _teacher(config: Config, data: DetectionData, run: Run, student: Detector) -> Detector:
    """The teacher, read or trained; that it fits is checked before it is trained."""
    if config.teacher:
        teacher = read_detector(config.teacher, data.names, "teacher", config, run)
        save_detector(run.path("teacher.pt"), teacher, config.side, {"from": config.teacher})
        return teacher
    own = replace(config, model=config.teacher_model, weights="")
    teacher, settings = start_detector(own, data.names, run), config.settings(config.teacher_epochs)
    if config.weights:  # a trained student's anchors stay: the teacher takes them
        teacher, settings = with_anchors_of(teacher, student), replace(settings, fit_anchors=False)
    check_teacher(teacher, with_anchors_of(copy.deepcopy(student), teacher))
    train_and_save(teacher, data, config, run, "teacher", "teacher.pt", settings)
    return load_detector(run.path("teacher.pt")).detector


def _report(
    config: Config, run: Run, data: DetectionData, histories: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:
    """Measure the files, write the page, print the table; the metrics."""
    names = ["teacher", *(["start"] if config.weights else []), *config.variants]
    with run.console.status("measuring the files on the test images"):
        scores = {name: score_file(run, f"{name}.pt", data, data.test_split) for name in names}
        detectors = {name: load_detector(run.path(f"{name}.pt")).detector for name in names}
        costs, numbers = cost_of(detectors, config.side)
    table = comparison_table(scores, numbers, data.test_split, reference="teacher")
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    points = [(n, numbers[n]["macs"] / 1e6, scores[n].map) for n in names]
    tradeoff = plot_tradeoff(points, "million MACs", "mAP50-95 on the test images")
    keys = {key for rows in histories.values() for row in rows for key in row}
    parts = {key: key.replace("_", " ") for key in sorted(keys) if key.startswith("teacher_")}
    write_page(
        run.path("report.html"),
        "A taught YOLOv5 detector",
        f"mAP50-95 {scores['teacher'].map:.4f} teacher; after {config.epochs} epochs "
        + ", ".join(f"{scores[name].map:.4f} {name}" for name in config.variants)
        + f", on {scores['teacher'].images} {data.test_split} images.",
        [
            Section(
                "Comparison",
                text=(
                    "The students start from the same weights and are trained for the same number "
                    "of epochs on the same images; the plain one has no teacher.",
                ),
                tables=(table, costs),
                pictures=(
                    ("Quality against cost", save_figure(tradeoff, run.path("plots", "cost.png"))),
                ),
            ),
            history_section(
                run,
                histories,
                metrics={"map": "mAP50-95", "map50": "mAP50", "loss": "loss", **parts},
            ),
        ],
        compared(config),
        environment(),
    )
    run.print(table)
    test = {name: score.to_dict() for name, score in scores.items()}
    return end_run(run, {"test": test, "cost": numbers})


DISTILL_SMOKE = {**DETECTION_SMOKE, "teacher_epochs": 1, "side": 64, "shape_side": 64}

if __name__ == "__main__":
    run_experiment(Config, main, DISTILL_SMOKE, user_errors=BAD_INPUT)
