"""make torch-teacher: a PyTorch classifier teaches a Keras student, through ONNX.

The student, a small ShuffleNetV2, is trained for the same epochs alone and taught. TEACHER is an
`.onnx` file, (B, C, H, W) to logits, of the data's classes (a `classifier_card.json` beside it says
how its images are normalized); without it, a YOLOv5 backbone with a linear layer is trained in
PyTorch first, on the same images and augmentation.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bridges.handover.export import export_torch
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.teacher import onnx_teacher
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seeds_table
from experiments.trash.classification import CLASSIFIER_SMOKE, load_images, write_card
from experiments.trash.classifier_files import F1_AND_LOSS, classifier_section
from experiments.trash.taught_classifiers import School, TaughtConfig, measured, students_of
from experiments.yolo.detection import BAD_INPUT
from models.yolov5.build import build_classifier
from tfcompress.data.image_augment import training_images
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import environment, open_run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Teach a Keras student by a PyTorch classifier."""

    backbone: str = "yolov5n"
    """Architecture of the teacher that is trained: yolov5n, s, m, l, x or a .yaml file."""
    enlarge: int = 2
    """Times that the teacher that is trained enlarges its images: its maps are 32 times smaller."""
    teacher_rate: float = 2e-3
    """Its learning rate at the start of a cosine (AdamW)."""


def main(config: Config) -> dict[str, Any]:
    """Teach, convert, compare; the metrics."""
    run = open_run(config.root, "torch-teacher", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    images = load_images(config, run, config.teacher)
    write_card(run, images, config)
    school = School(config, images, run)
    classes = len(images.classes)
    if config.teacher:
        graph = OnnxModel.load(config.teacher)
    elif run.path("teacher.onnx").is_file():
        graph = OnnxModel.load(run.path("teacher.onnx"))  # of an interrupted run
    else:
        graph = train_teacher(school, config)
    teacher = onnx_teacher(graph, classes)
    test_images, test_labels = images.part("test")
    said = np.concatenate(
        [teacher.logits(part) for part in np.array_split(test_images, -(-len(test_images) // 256))]
    )
    accuracy = float((said.argmax(1) == test_labels).mean())
    found = [measured(school, students_of(school, s, teacher), s) for s in config.seeds]
    comparison, scores = found[0]
    comparisons = [each for each, _ in found]
    histories = school.histories
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    table = Table(("teacher", "file", "test accuracy"), title="The teacher, by onnxruntime")
    table.add(Path(graph.source).name, f"{graph.size_bytes / 1e6:.2f} MB", f"{accuracy:.4f}")
    rows = {row.name: row for row in comparison.rows}
    over_seeds = []
    if len(config.seeds) > 1:
        over_seeds = [seeds_table(config.seeds, comparisons, ((2, 0),), "macro_f1", "Macro F1")]
    write_page(
        run.path("report.html"),
        "A PyTorch teacher of a Keras student",
        f"The teacher's test accuracy is {accuracy:.4f}; macro F1 of the float32 students "
        f"{rows['plain float32'].quality['macro_f1']:.4f} alone and "
        f"{rows['distilled float32'].quality['macro_f1']:.4f} taught.",
        [
            Section("Teacher", tables=(table,)),
            classifier_section(run, comparison, scores),
            *(Section("Over seeds", tables=(table,)) for table in over_seeds),
            history_section(run, histories, metrics=F1_AND_LOSS),
        ],
        compared(config),
        environment(),
    )
    run.print(table, comparison.table(), *over_seeds, scores)
    more = {"seeds": [c.to_dict() for c in comparisons], "teacher_accuracy": accuracy}
    return finish(run, comparison, more)


def train_teacher(school: School, config: Config) -> OnnxModel:
    """Train a classifier in PyTorch on the students' images, and write it as ONNX."""
    images, run = school.images, school.run
    torch.manual_seed(0)
    classes = len(images.classes)
    classifier = build_classifier(config.backbone, classes)
    model = nn.Sequential(nn.Upsample(scale_factor=config.enlarge), classifier)
    batches = training_images(
        images.data.train, config.side, classes, config.batch, images.normalization,
        config.augmentation(), 0,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(
        model.parameters(), config.teacher_rate, weight_decay=config.weight_decay
    )
    for epoch in range(config.teacher_epochs):
        for group in optimizer.param_groups:
            cosine = (1 + math.cos(math.pi * epoch / config.teacher_epochs)) / 2
            group["lr"] = config.teacher_rate * cosine
        model.train()
        losses = []
        for x, y in batches:
            if len(x) < 2:
                continue  # BatchNorm needs two
            logits = model(_as_torch(x.numpy()))
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(y.numpy()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        run.print(f"teacher   {epoch + 1:3d}/{config.teacher_epochs}  loss {np.mean(losses):.4f}")
    example = _as_torch(images.part("val")[0][:1])
    return export_torch(
        model, example, run.path("teacher.onnx"), output_names=["logits"], dynamic_batch=True
    )


def _as_torch(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, C) to (B, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))


SMOKE = {**CLASSIFIER_SMOKE, "teacher_epochs": 1, "enlarge": 1}

if __name__ == "__main__":
    run_experiment(Config, main, SMOKE, user_errors=BAD_INPUT)
