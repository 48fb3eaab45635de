"""The examples in docstrings run, as the manual's code does.

A block sees the names of its own module and what the manual's pages take as given
(`documentation/setups.py`); `GIVEN` adds what it needs beyond that.
"""

import ast
import importlib
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.documentation import setups, static

ROOT = Path(__file__).resolve().parent.parent
FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Modules whose blocks only have their names and calls checked, and why.
NOT_RUN = {
    "bridges.handover.detectors": "needs a trained detector's int8 file, and data",
    "bridges.handover.to_litert": "docs/guides/crossing.md runs the same, in half a minute",
    "bridges.handover.weights": "needs torchvision's file of ResNet50",
    "tfcompress.isolation.process": "its function is at the top of a file: see tests/isolation",
    "tfcompress.pipeline.compress": "docs/guides/recipes.md runs one like it, with fewer epochs",
    "tfcompress.pruning.tfmot.cluster": "docs/guides/tfmot.md runs one like it",
    "tfcompress.pruning.tfmot.prune": "docs/guides/tfmot.md runs one like it, with fewer steps",
    "tfcompress.quantization.training.tfmot": "docs/guides/tfmot.md runs one like it",
}


def examples():
    """(module, source) of every fenced block of Python in a docstring."""
    for path in sorted(
        p for top in ("bridges", "tfcompress", "models") for p in Path(ROOT, top).rglob("*.py")
    ):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for source in FENCED.findall(ast.get_docstring(node) or ""):
                    yield module, source


EXAMPLES = list(examples())


def one_hot():
    import tensorflow as tf

    given = setups.with_teacher()
    given["labels"] = np.eye(setups.CLASSES, dtype="float32")[given["labels"]]
    return {**given, "tf": tf}


def validated():
    given = setups.with_teacher()
    given["val_images"], given["val_labels"] = given["val"]
    return given


def distilled():
    import tfcompress as tfc

    given = setups.with_teacher()
    distiller = tfc.Distiller(given["teacher"], given["student"], [tfc.SoftTargets()])
    distiller.compile("adam", "sparse_categorical_crossentropy")
    return {**given, "distiller": distiller}


def with_file():
    given = setups.basics()
    lite = given["tfc"].to_litert(given["model"], "int8", given["images"])
    return {**given, "lite": lite, "dense": given["model"], "pruned": given["model"]}


def onnx_files():
    """A detector as an ONNX file, and images for it."""
    from bridges.handover.export import export_detector

    given = setups.crossing()
    images = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    return {
        **given,
        "module": given["detector"],
        "model": export_detector(given["detector"], 64, "detector.onnx"),
        "images": images,
        "config": given["tfc"].ChannelConfig(target_macs=0.7),
    }


def onnx_teacher():
    """A classifier as an ONNX file, and a student for the same images."""
    import torch

    from bridges.handover.export import export_torch

    given = setups.crossing()
    example = torch.zeros(1, 3, 32, 32)
    export_torch(given["classifier"], example, "resnet.onnx", dynamic_batch=True)
    images = np.random.default_rng(0).random((32, 32, 32, 3), dtype=np.float32)
    return {**given, "images": images, "labels": given["labels"][:32]}


GIVEN = {
    "bridges.handover.onnx_model": onnx_files,
    "bridges.handover.parity": onnx_files,
    "bridges.handover.teacher": onnx_teacher,
    "bridges.handover.to_keras": onnx_files,
    "tfcompress.comparison": with_file,
    "tfcompress.distillation.criterion": one_hot,
    "tfcompress.distillation.distiller": validated,
    "tfcompress.distillation.store": distilled,
    "tfcompress.factorization.factorize": lambda: {
        **setups.basics(), "measure": lambda model: model.count_params(),
    },
    "tfcompress.graph.transfer": lambda: {**setups.basics(), "pretrained": setups.classifier()},
    "tfcompress.quantization.report": with_file,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("module", "source"), EXAMPLES, ids=[f"{m}-{i}" for i, (m, _) in enumerate(EXAMPLES)]
)
def test_an_example_runs(module, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(vars(importlib.import_module(module)))
    source = textwrap.dedent(source)
    if module in NOT_RUN:
        static.checked(source, names)
        return
    names = {**GIVEN.get(module, setups.basics)(), **names}
    exec(compile(source, module, "exec"), names)
    static.checked(source, names)


def test_there_are_examples_and_all_are_fenced():
    assert len(EXAMPLES) >= 20
    assert set(NOT_RUN) | set(GIVEN) <= {module for module, _ in EXAMPLES}
    for path in (p for top in ("bridges", "tfcompress") for p in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                assert ">>> " not in text, path
                assert "::\n" not in text, path
