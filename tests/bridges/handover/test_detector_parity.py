"""Detectors of every kind to ONNX, Keras and LiteRT float32: boxes and scores within 1e-4.

The aim is on boxes and scores as fractions of the square and 1, as they are used.
"""

from dataclasses import replace

import pytest

import tfcompress as tfc
from bridges.handover.export import export_detector
from bridges.handover.heads import HeadSpec, with_plain_head
from bridges.handover.parity import (
    compare_tensors,
    keras_tensors,
    litert_tensors,
    onnx_tensors,
    torch_tensors,
    with_boxes,
)
from bridges.handover.to_keras import to_keras
from bridges.handover.to_litert import to_litert
from bridges.yolov5.nas.transplant import transplant
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.planner import plan_detector, prune_detector
from models.yolov5.architecture_file import read_architecture
from models.yolov5.build import assemble_backbone, build_detector, resolve
from models.yolov5.search_space import as_space, build_detector_space, frozen_pick, list_choices
from tests.bridges.handover.sample_models import scenes, settle

SIDE, NAMES, AIM = 96, ("disc", "ring"), 1e-4


def searched():
    """The space around yolov5n with the second option of every choice."""
    space = as_space("yolov5n")
    choices = {label: options[1] for label, options in list_choices(space).items()}
    return build_detector_space(space, frozen_pick(choices), NAMES)


def pruned():
    """yolov5n with half its MACs."""
    detector = build_detector("yolov5n", names=NAMES)
    return prune_detector(
        detector, plan_detector(detector, PruneConfig(target_macs=0.5, side=SIDE))
    )


def resized():
    """yolov5n whose fourth, sixth and ninth rows have other widths."""
    architecture = resolve(read_architecture("yolov5n"))
    rows = list(architecture.backbone)
    for row, channels in ((4, 80), (6, 96), (9, 200)):
        rows[row] = replace(rows[row], args=(channels, *rows[row].args[1:]))
    backbone = assemble_backbone(replace(architecture, backbone=tuple(rows)))
    return transplant(build_detector("yolov5n", names=NAMES), backbone).detector


DETECTORS = {
    "yolov5n": lambda: build_detector("yolov5n", names=NAMES),
    "yolov5s": lambda: build_detector("yolov5s", names=NAMES),
    "yolov5m": lambda: build_detector("yolov5m", names=NAMES),
    "searched": searched,
    "resized": resized,
    "pruned": pruned,
}
FAST = ("yolov5n", "resized")


def named(fast):
    return [
        pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in DETECTORS
    ]


def start(name, tmp_path):
    detector = settle(DETECTORS[name](), SIDE)
    images = scenes(2, SIDE, seed=11).numpy()
    graph = export_detector(detector, SIDE, tmp_path / "d.onnx")
    spec = HeadSpec.of(detector, SIDE, parts=False)
    module = with_plain_head(detector)
    wanted = torch_tensors(module, images, spec.outputs, inner=False)
    return graph, spec, images, with_boxes(wanted, spec)


def check(wanted, found, spec):
    report = compare_tensors(wanted, with_boxes(found, spec), atol=AIM, rtol=0)
    assert report.passed, str(report)
    assert [row.name for row in report.outputs] == ["boxes", "scores"]
    scores = next(row for row in report.outputs if row.name == "scores")
    assert scores.highest - scores.lowest > 0.01  # it is no constant that agrees


@pytest.mark.parametrize("name", named(FAST))
def test_onnx_and_keras_and_its_litert(name, tmp_path):
    graph, spec, images, wanted = start(name, tmp_path)
    check(wanted, onnx_tensors(graph, images, inner=False), spec)
    crossed = to_keras(graph, images)
    check(wanted, keras_tensors(crossed.model, images), spec)
    check(wanted, litert_tensors(tfc.to_litert(crossed.model), images, spec.outputs), spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_litert_by_onnx2tf(name, tmp_path):
    graph, spec, images, wanted = start(name, tmp_path)
    crossing = to_litert(graph, images=images)
    assert crossing.output_names == spec.outputs
    check(wanted, litert_tensors(crossing.files["float32"], images, spec.outputs), spec)
