"""`repr` of public objects is a line about what they are; `print` shows no arrays and no bytes."""

import inspect
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import pytest

import tfcompress as tfc
from tfcompress.data.folder import Patches, SegmentationData
from tfcompress.data.image_folder import ClassificationData, ImageSet
from tfcompress.data.palette import Palette
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import open_run
from tfcompress.short_repr import LINE, VALUE, one_line, short, short_repr
from tfcompress.tuning.results import SearchResult

ODD = 0.123456789  # ends every number of the arrays here; no description may hold its digits
SAMPLES = (np.arange(24 * 8 * 8 * 3).reshape(24, 8, 8, 3) % 7 + ODD).astype(np.float32)
LABELS = np.arange(24) % 3


@short_repr
@dataclass(frozen=True)
class Box:
    name: str
    values: np.ndarray
    size: tuple[int, ...] = (1, 2)
    notes: tuple[str, ...] = ()
    secret: str = field(default="x", repr=False)
    found: dict[str, int] = field(default_factory=dict)


def test_fields_at_their_defaults_are_left_out():
    box = Box("b", np.zeros((2, 3)), notes=("one",), secret="y")
    assert repr(box) == "Box(name='b', values=<float64 2x3>, notes=('one',))"
    assert repr(replace(box, size=(3,))) == (
        "Box(name='b', values=<float64 2x3>, size=(3,), notes=('one',))"
    )


def test_a_table_is_what_print_shows(instances):
    found = next(i for i in instances if isinstance(i, tfc.SearchSpace))
    assert str(found) == str(found.table())
    assert "depth" in str(found)
    assert repr(found) != str(found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\0" * 1234, "<1,234 bytes>"),
        (0.1 + 0.2, "0.3"),
        (np.float32(0.25), "0.25"),
        (np.float64(2 / 3), "0.666667"),
        ([np.ones(3, "int8")], "[<int8 3>]"),
        (tuple(range(100)), "<100 x int>"),
        ({"a": 1}, "{a: 1}"),
        ({f"key{i}": i for i in range(50)}, "<50 entries>"),
        (len, "len"),
        (keras.Sequential(name="net"), "<model 'net'>"),
        (keras.ops.zeros((2, 2)), "<float32 2x2>"),
        (object(), "object"),
        (None, "None"),
    ],
)
def test_values(value, text):
    assert short(value) == text


def test_what_does_not_fit_is_cut():
    text = one_line("Thing", {f"argument_{i}": "x" * 200 for i in range(9)})
    assert text.startswith("Thing(argument_0='xxx")
    assert text.endswith(", ...)")
    assert len(text) <= LINE
    assert len(short("y" * 1000)) <= VALUE


def dense(name="net", units=8):
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(units, 3, padding="same", name="first")(inputs)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x), name=name)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.get_layer("first").kernel.assign(np.full((3, 3, 3, units), ODD))
    return model


def train(params, trial):
    return {"accuracy": 0.5}


@pytest.fixture(scope="module")
def instances(tmp_path_factory):
    """A small instance of every public class, and of what public functions return."""
    folder = tmp_path_factory.mktemp("objects")
    big, small = dense("big"), dense("small", 4)
    lite = tfc.to_litert(small, "int8", SAMPLES)
    space = tfc.SearchSpace({"rate": tfc.LogUniform(1e-4, 1e-1), "depth": tfc.Integer(1, 5)})
    objective = tfc.SearchObjective("accuracy", also=("loss",))
    plan = tfc.plan_channels(big, tfc.ChannelConfig(target_macs=0.5))
    result = tfc.compress(
        big,
        tfc.CompressionData((SAMPLES, LABELS), (SAMPLES, LABELS)),
        {"steps": [{"int8": {"budget": {"quality_drop": 1.0}}}]},
        folder / "steps",
        tell=None,
    )
    palette = Palette(("a", "b"), ((0, 0, 0), (255, 0, 0)))
    trial = tfc.Trial(3, objective, folder / "trial", history=[{"accuracy": 0.5}] * 90)
    made = [
        tfc.AttentionTransfer(teacher_layer_name="first", student_layer_name="first"),
        tfc.Budget(quality_drop=0.02, macs=0.25),
        tfc.Builder(dense, space),
        tfc.CategoricalFocalLoss(class_weights=[1.0] * 40),
        tfc.ChannelConfig(target_macs=0.5, score="fpgm", round_to=8),
        plan,
        tfc.ChannelWise(1.0),
        tfc.Choice(("adam", "sgd")),
        result.comparison,
        result,
        tfc.CompressionData((SAMPLES, LABELS), (SAMPLES, LABELS), calibration=SAMPLES),
        ConfigError("where", "what", "fix"),
        tfc.Constant(0),
        tfc.Contrastive(teacher_layer_name="first", student_layer_name="first"),
        tfc.Decoupled(),
        tfc.DiceFocalLoss(),
        tfc.DiceLoss(class_weights=[0.2, 0.3, 0.5]),
        tfc.Distiller(big, small, [tfc.SoftTargets(4.0), tfc.PixelWise()]),
        tfc.F1CrossEntropyLoss(),
        tfc.HalvingStop(),
        tfc.Hint(teacher_layer_name="first", student_layer_name="first"),
        tfc.Integer(1, 5),
        tfc.KLDistillation(big, keras.losses.SparseCategoricalCrossentropy()),
        tfc.KerasTunerSearch(function=train, space=space, objective=objective, folder=folder),
        tfc.LevelPruner(dense(), [{"sparsity": 0.5, "op_types": ["default"]}]),
        lite,
        tfc.LogUniform(1e-4, 1e-1),
        tfc.MacroF1(),
        tfc.MacroF1Loss(),
        tfc.MedianStop(),
        tfc.NNISearch(command=("python", "t.py"), space=space, objective=objective, folder=folder),
        tfc.PixelWise(),
        tfc.Polynomial(0, 10),
        tfc.Relational(teacher_layer_name="first", student_layer_name="first"),
        tfc.RemoteMachine(host="host", user="user"),
        objective,
        space,
        tfc.SoftTargets(temperature=4.0),
        SearchResult(space, objective, (), "keras-tuner", 1.0, ""),
        tfc.STEPS["int8"],
        tfc.StepResult(big, ("a note",), ({"loss": 0.1},) * 50),
        trial,
        tfc.Uniform(0.0, 1.0),
        # what public functions return
        tfc.compare_outputs(SAMPLES, SAMPLES),
        tfc.count_cost(big),
        *tfc.count_zeros(big),
        tfc.debug_quantization(small, lite, SAMPLES),
        tfc.find_groups(big),
        tfc.measure_latency([lite], repeats=2, warmup=1)[0],
        tfc.plan_factorization(dense(units=32), "ratio", 0.5),
        tfc.sensitivity(big, (SAMPLES, LABELS), levels=(0.5,)),
        tfc.prune_in_rounds(big, tfc.ChannelConfig(target_macs=0.5), lambda m, n: None, rounds=1),
        tfc.store_teacher(tfc.Distiller(big, small, tfc.SoftTargets()), SAMPLES, folder / "stored"),
        tfc.transfer_weights(big, dense("other")),
        # and what users meet on the way
        *result.outcomes,
        *plan.groups,
        *lite.inputs,
        *lite.file.tensors,
        lite.file,
        open_run(folder, "experiment", "run", {}, False),
        SegmentationData(palette, *[Patches(SAMPLES, LABELS, ("a",) * 24)] * 3, {"train": ("a",)}),
        ClassificationData(("a", "b"), *[ImageSet(SAMPLES, LABELS, ("x",) * 24)] * 3),
    ]
    return made


def test_every_public_class_is_here(instances):
    classes = {n for n in tfc.__all__ if inspect.isclass(getattr(tfc, n))}
    shown = {name for name in classes if any(isinstance(i, getattr(tfc, name)) for i in instances)}
    assert classes - shown == set()


def test_repr_is_one_line_without_contents(instances):
    for instance in instances:
        text = repr(instance)
        assert "\n" not in text, text
        assert len(text) <= LINE, text
        assert " at 0x" not in text, text
        assert_no_contents(text)


def test_print_shows_a_line_or_a_table_without_contents(instances):
    for instance in instances:
        text = str(instance)
        assert len(text) < 8000, text
        assert " at 0x" not in text, text
        assert_no_contents(text)


def assert_no_contents(text):
    assert ".12345" not in text
    assert "array(" not in text
    assert "\\x00" not in text
    assert "tf.Tensor" not in text
    assert "TFL3" not in text
