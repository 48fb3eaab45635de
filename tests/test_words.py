"""Docstrings in plain words: an argument line starts with a noun phrase that stands alone."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "experiments",
    "bridges/yolov5/prune",
    "models",
    "tfcompress/*.py",
    "tfcompress/data",
    "tfcompress/distillation",
    "tfcompress/evaluation",
    "tfcompress/factorization",
    "tfcompress/graph",
    "tfcompress/pipeline",
    "tfcompress/pruning/channels",
    "tfcompress/pruning/level",
    "tfcompress/pruning/tfmot",
    "tfcompress/reporting/plots.py",
    "tfcompress/tuning/keras_tuner",
    "tfcompress/tuning/nni",
    "tfcompress/twin",
)
RIDDLES = re.compile(
    r"(Of|How many|How much|How often|For|As|In|Whose|What|Which|Who|Where|The same|See)\b"
)
BRITISH = re.compile(
    r"\b(artefact|behaviour|colour|favour|flavour|neighbour|labelled|modelling|cancelled|licence|"
    r"(normal|optim|quant|initial|serial|regular|recogn)is(e|ed|es|ing|ation))\b",
    re.IGNORECASE,
)


def _files():
    for room in ROOMS:
        found = sorted(ROOT.glob(room if room.endswith(".py") else f"{room}/**/*.py"))
        assert found, room
        yield from found


FILES = sorted(set(_files()))


def argument_lines(docstring):
    """`(name, description)` of the entries of Args and Attributes."""
    for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", docstring, re.M):
        yield from re.findall(r"^    (\*{0,2}\w+): (.*)", section, re.M)


def docstrings(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield getattr(node, "name", "module"), ast.get_docstring(node) or ""


def test_the_reader_of_docstrings_finds_a_riddle():
    found = list(argument_lines("Train.\n\nArgs:\n    epochs: How many.\n    **kwargs: Of it.\n"))
    assert found == [("epochs", "How many."), ("**kwargs", "Of it.")]
    assert all(RIDDLES.match(text) for _, text in found)
    assert not RIDDLES.match("Number of training epochs.")
    assert BRITISH.search("the finished artefact")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_plain(path):
    for name, docstring in docstrings(path):
        riddles = [line for line in argument_lines(docstring) if RIDDLES.match(line[1])]
        assert riddles == [], f"{name}: {riddles}"
        assert not BRITISH.search(docstring), name
