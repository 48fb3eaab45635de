"""make torch-teacher: a PyTorch classifier teaches a Keras student, through ONNX.

The student, a small ShuffleNetV2, is trained for the same epochs alone and taught. TEACHER is an
`.onnx` file, (B, C, H, W) to logits, of the data's classes (a `classifier_card.json` beside it says
how its images are normalized); without it, a YOLOv5 backbone with a linear layer is trained in
PyTorch first, on the same images and augmentation.

Takes about 10 minutes on two CPU cores (30 epochs of the teacher, and 60 of 2 s of the students, on
2,100 generated pictures). Prints the teacher's accuracy and macro F1 of the students' files.
docs/measurements.md ("A PyTorch teacher of a Keras student") has three seeds on Fashion-MNIST: the
taught student was better in each.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bridges.handover.export import export_torch
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.teacher import onnx_teacher
from experiments.common.program import Program
from experiments.common.report import Report, quality_by_name
from experiments.trash.classification import CLASSIFIER_SMOKE
from experiments.trash.study import Study, TaughtConfig
from experiments.yolo.detection import BAD_INPUT
from models.yolov5.build import build_classifier
from tfcompress.data.image_augment import training_images
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Teach a Keras student by a PyTorch classifier."""

    backbone: str = "yolov5n"
    """Architecture of the teacher that is trained: yolov5n, s, m, l, x or a .yaml file."""
    enlarge: int = 2
    """Factor by which that teacher enlarges its images, as its maps are 32 times smaller."""
    teacher_rate: float = 2e-3
    """Learning rate of that teacher at the start of a cosine (AdamW)."""


def main(config: Config, run: Run) -> Report:
    """Teach, convert, compare."""
    study = Study.of(config, run, config.teacher)
    if config.teacher:
        graph = OnnxModel.load(config.teacher)
    elif run.path("teacher.onnx").is_file():
        graph = OnnxModel.load(run.path("teacher.onnx"))  # of an interrupted run
    else:
        graph = train_teacher(study)
    teacher = onnx_teacher(graph, study.classes)
    test_images, test_labels = study.images.part("test")
    batches = np.array_split(test_images, -(-len(test_images) // 256))
    predicted = np.concatenate([teacher.logits(batch) for batch in batches]).argmax(1)
    accuracy = float((predicted == test_labels).mean())
    found = [study.measure(study.students(seed, teacher), seed) for seed in config.seeds]
    comparison, scores = found[0]
    comparisons = [each for each, _ in found]
    table = Table(("teacher", "file", "test accuracy"), title="The teacher, by onnxruntime")
    table.add(Path(graph.source).name, f"{graph.size_bytes / 1e6:.2f} MB", f"{accuracy:.4f}")
    over_seeds = study.over_seeds(comparisons, ((2, 0),))
    f1 = quality_by_name(comparison, "macro_f1")
    return study.report(
        comparison,
        scores,
        "A PyTorch teacher of a Keras student",
        f"The teacher's test accuracy is {accuracy:.4f}; macro F1 of the float32 students "
        f"{f1['plain float32']:.4f} alone and {f1['distilled float32']:.4f} taught.",
        [
            Section("Teacher", tables=(table,)),
            *(Section("Over seeds", tables=(each,)) for each in over_seeds),
        ],
        [table, *over_seeds],
        seeds=[each.to_dict() for each in comparisons],
        teacher_accuracy=accuracy,
    )


def train_teacher(study: Study) -> OnnxModel:
    """Train a classifier in PyTorch on the students' images, and write it as ONNX."""
    config, images, run, classes = study.config, study.images, study.run, study.classes
    torch.manual_seed(0)
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
PROGRAM = Program("torch-teacher", Config, main, SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
