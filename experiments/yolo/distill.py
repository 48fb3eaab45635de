"""make yolo-distill: a detector taught by a larger one, beside plain training for the same epochs.

TEACHER and WEIGHTS (the student) are detectors' files, pruned ones too; without TEACHER a
`teacher_model` is trained first, without WEIGHTS the student is a new MODEL, with the teacher's
anchors. `--variants` are plain (the control), taught (logits and features), logits, and features.
`make yolo-train T_WEIGHTS=...` and `make yolo-prune TEACHER=...` teach in the same way.

Takes hours on two CPU cores: 80 epochs of the teacher, and 80 of each student (yolov5n untaught: 16
s an epoch on 200 generated images). Prints mAP and cost of the teacher and of each student on the
test images, files read back.
"""

import copy
from dataclasses import dataclass, replace

from bridges.yolov5.distill.teacher import DistillSettings, check_teacher
from bridges.yolov5.prune.rounds import settings_of_round
from experiments.common.program import Program
from experiments.common.report import Report, write_histories
from experiments.yolo.detection import BAD_INPUT, DETECTION_SMOKE, SMALL
from experiments.yolo.study import Study
from experiments.yolo.teaching import TaughtConfig, taught_by, with_anchors_of
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import Run

VARIANTS = ("plain", "taught", "logits", "features")


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Teach a detector, and train it without a teacher."""

    weights: str = ""
    """Student's .pt file; empty: a new MODEL."""
    teacher_model: str = "yolov5s"
    """Architecture that is trained first where there is no TEACHER."""
    teacher_epochs: int = 80
    """Number of training epochs of that teacher."""
    variants: tuple[str, ...] = ("plain", "taught")
    """Students to train: plain, taught, logits, features."""

    def check(self) -> None:
        """Check what would only show after hours."""
        super().check()
        self.settings(self.teacher_epochs)
        for name in self.variants:
            if name not in VARIANTS:
                raise ConfigError("variants", f"{name!r} is unknown", f"use {', '.join(VARIANTS)}")
            self.parts(name)

    def parts(self, variant: str) -> DistillSettings | None:
        """What a variant distills; None: nothing.

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


def main(config: Config, run: Run) -> Report:
    """Train the student with and without a teacher, compare."""
    study = Study.of(config, run)
    if config.weights:
        student = study.read(config.weights, "weights")
        teacher = _teacher(study, student)
        settings = settings_of_round(config.settings(), config.epochs)
        study.save("start", student, {"from": config.weights})
    else:
        student = study.start()
        teacher = _teacher(study, student)
        student = with_anchors_of(student, teacher)
        settings = replace(config.settings(), fit_anchors=False)
    check_teacher(teacher, student)
    histories = {}
    for name in config.variants:
        run.print(f"{name}: {config.epochs} epochs", style="bold")
        distilled = config.parts(name)
        extra = [taught_by(teacher, student, config, distilled)] if distilled else []
        result = study.train(student, name, settings=settings, extra_losses=extra)
        histories[name] = list(result.history)
    write_histories(run, histories)
    names = ["teacher", *(["start"] if config.weights else []), *config.variants]
    measured = study.measure(names, reference="teacher")
    keys = {key for rows in histories.values() for row in rows for key in row}
    parts = {key: key.replace("_", " ") for key in sorted(keys) if key.startswith("teacher_")}
    text = (
        "The students start from the same weights and are trained for the same number of epochs on "
        "the same images; the plain one has no teacher.",
    )
    return Report(
        "A taught YOLOv5 detector",
        f"mAP50-95 {measured.words(['teacher'])}; after {config.epochs} epochs "
        f"{measured.words(config.variants)}, on {measured.images}.",
        (measured.table,),
        (measured.section(run, text), study.training(histories, parts)),
        measured.metrics(),
    )


def _teacher(study: Study, student: Detector) -> Detector:
    """The teacher, read or trained; that it fits is checked before it is trained."""
    config = study.config
    if config.teacher:
        teacher = study.read(config.teacher, "teacher")
        study.save("teacher", teacher, {"from": config.teacher})
        return teacher
    own = replace(study, config=replace(config, model=config.teacher_model, weights=""))
    teacher, settings = own.start(), config.settings(config.teacher_epochs)
    if config.weights:  # a trained student's anchors stay: the teacher takes them
        teacher, settings = with_anchors_of(teacher, student), replace(settings, fit_anchors=False)
    check_teacher(teacher, with_anchors_of(copy.deepcopy(student), teacher))
    study.train(teacher, "teacher", settings=settings)
    return study.load("teacher")


DISTILL_SMOKE = {**DETECTION_SMOKE, **SMALL, "teacher_epochs": 1}
PROGRAM = Program("yolo-distill", Config, main, DISTILL_SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
