"""One declaration of the options: every other one has its defaults, or says on its line why not."""

import ast
import dataclasses
from pathlib import Path

import pytest

from tfcompress.errors import ConfigError
from tfcompress.pipeline.steps import ChannelPruneOptions
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.options import ChannelOptions

ROOT = Path(__file__).resolve().parents[4]
BASE = {field.name: field.default for field in dataclasses.fields(ChannelOptions)}
# Fields by which a class is known to declare options of channel pruning.
TELLING = ("round_to", "min_kept")

# Every class in the code that declares such a field in its body: the defaults that differ from
# those of `ChannelOptions`. Nothing else may differ, and each has its reason on its line.
DECLARATIONS = {
    ("tfcompress/pruning/channels/core/options.py", "ChannelOptions"): {},
    ("tfcompress/pipeline/steps.py", "ChannelPruneOptions"): {"round_to": 4},
    ("tfcompress/cli/prune.py", "Prune"): {},
    ("bridges/yolov5/prune/config.py", "PruneConfig"): {"round_to": 8},
    ("experiments/unet/study.py", "UnetChannels"): {
        "scope": "group",
        "round_to": 4,
        "min_kept": 0.25,
    },
    # These repeat the fields flat, as flags, and refer to the classes above for their defaults.
    ("experiments/unet/channel_prune.py", "Config"): {},
    ("experiments/yolo/prune.py", "Config"): {},
}
# The base itself, and the verb, whose --help must not import the base: a value that it writes out
# has to be equal to the base's here.
WRITTEN_OUT = ("ChannelOptions", "Prune")
# What means something else under the same name: a group that may lose units, zeros in kernels, the
# budgets of several U-Nets, a share to remove that is there by default.
OTHER_MEANING = {
    "Candidate": {"round_to", "sparsity"},
    "Prune": {"sparsity", "scope"},
    "Config": {"sparsity", "target_macs"},
}


def sources():
    for top in ("tfcompress", "bridges", "experiments", "benchmarks"):
        yield from sorted((ROOT / top).rglob("*.py"))


def declared(path):
    """(class, field, its default's expression, its line and the one above it) of a file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and item.value is not None:
                field = ast.unparse(item.target)
                if field in BASE and field not in OTHER_MEANING.get(node.name, ()):
                    said = " ".join(lines[item.lineno - 2 : item.end_lineno])
                    yield node.name, field, item.value, said


def test_every_declaration_is_known():
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in sources()
        for name, field, *_ in declared(path)
        if field in TELLING
    }
    assert found == set(DECLARATIONS)


@pytest.mark.parametrize(("file", "name"), DECLARATIONS)
def test_a_declaration_has_the_shared_defaults_but_for_what_it_states(file, name):
    stated = dict(DECLARATIONS[file, name])
    for owner, field, default, said in declared(ROOT / file):
        if owner != name:
            continue
        if isinstance(default, ast.Attribute):  # `round_to: int = ChannelOptions.round_to`
            assert default.attr == field, f"{file}: {said}"
            continue
        value = ast.literal_eval(default)
        if value == BASE[field]:
            assert value is None or name in WRITTEN_OUT, (
                f"{file}: refer to ChannelOptions.{field}: {said}"
            )
            continue
        assert (field, value) in stated.items(), f"{file}: {said}"
        assert "ChannelOptions has" in said, f"{file}: say why, and what the default is: {said}"
        del stated[field]
    assert not stated, f"{file} states no longer {stated}"


def test_no_call_of_the_programs_writes_a_number():
    """A width or a floor within a call is a default that drifts; where it stands it says why."""
    written = []
    for path in sources():
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            pairs = []
            if isinstance(node, ast.Call):
                pairs = [(k.arg, k.value) for k in node.keywords]
            elif isinstance(node, ast.Dict):
                pairs = [
                    (getattr(k, "value", None), v)
                    for k, v in zip(node.keys, node.values, strict=True)
                ]
            for name, value in pairs:
                if name in TELLING and isinstance(value, ast.Constant):
                    line = lines[value.lineno - 1]
                    if "ChannelOptions has" not in line:
                        written.append(f"{path.relative_to(ROOT)}:{value.lineno}: {line.strip()}")
    assert not written


def test_classes_that_inherit_have_the_shared_defaults():
    for options, stated in ((ChannelConfig, {}), (ChannelPruneOptions, {"round_to": 4})):
        defaults = {field.name: field.default for field in dataclasses.fields(options)}
        assert {name: defaults[name] for name in BASE} == {**BASE, **stated}


def test_one_step_becomes_the_config_of_the_planner():
    step = ChannelPruneOptions(target_macs=0.5, score="fpgm", exclude=("a",), min_kept=0.2)
    config = step.config(seed=3)
    assert config == ChannelConfig(
        target_macs=0.5, score="fpgm", exclude=("a",), min_kept=0.2, round_to=4, seed=3
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "ChannelOptions: it has 0 targets .none.. Fix: set exactly one of sparsity, target_m"),
        ({"sparsity": 0.2, "target_macs": 0.5}, r"it has 2 targets \(sparsity, target_macs\)"),
        ({"sparsity": 1.0}, r"sparsity: it is 1.0, but must be in \(0, 1\). Fix: write 0.3"),
        ({"sparsity": 0.2, "exclude": "head"}, r"it is the string 'head'. Fix: write \('head',\)"),
        ({"sparsity": 0.2, "round_to": 2.0}, "round_to: it is 2.0. Fix: use a whole number"),
        ({"sparsity": 0.2, "min_kept": -0.1}, "min_kept: it is -0.1"),
        ({"sparsity": 0.2, "score": "hrank"}, "score: unknown value 'hrank'. Fix: use l1, l2"),
    ],
)
def test_wrong_options_are_one_error_that_names_the_fix(options, message):
    with pytest.raises(ConfigError, match=message):
        ChannelOptions(**options)
