"""Old names of arguments and options still work, and say the new one where they are used."""

import warnings
from dataclasses import dataclass, replace

import keras
import pytest

import tfcompress as tfc
from tfcompress.errors import ConfigError
from tfcompress.pipeline.recipe import read_recipe
from tfcompress.pipeline.steps import STEPS
from tfcompress.renamed import renamed_argument, renamed_fields


@renamed_argument("colour", "color")
def paint(color="white", size=1):
    return color, size


def test_an_argument_by_its_old_name():
    with pytest.warns(DeprecationWarning, match=r"'colour' of paint\(\) is now called 'color'"):
        assert paint(colour="red", size=2) == ("red", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paint("blue") == paint(color="blue") == ("blue", 1)
    with pytest.raises(TypeError, match="got 'color' and also 'colour', its old name"):
        paint(color="red", colour="red")


@renamed_fields(colour="color")
@dataclass(frozen=True, kw_only=True)
class Paint:
    color: str = "white"
    size: int = 1


def test_a_field_by_its_old_name():
    with pytest.warns(DeprecationWarning, match=r"'colour' of Paint\(\) is now called") as told:
        red = Paint(colour="red", size=2)
    assert told[0].filename == __file__
    assert red == Paint(color="red", size=2)
    with pytest.warns(DeprecationWarning, match="Paint.colour is now called 'color'") as told:
        assert red.colour == "red"
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert replace(red, color="blue") == Paint(color="blue", size=2)
    with pytest.raises(TypeError, match="got 'color' and also 'colour', its old name"):
        Paint(color="red", colour="red")


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])


def test_the_number_format_was_called_recipe(model):
    with pytest.warns(DeprecationWarning, match="'recipe' of to_litert") as told:
        lite = tfc.to_litert(model, recipe="float16")
    assert told[0].filename == __file__  # the line to change
    assert lite.format == "float16"
    with pytest.warns(DeprecationWarning, match="LiteModel.recipe is now called 'format'") as told:
        assert lite.recipe == "float16"
    assert told[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="'recipe' of from_bytes"):
        assert tfc.LiteModel.from_bytes(lite.content, recipe="float16").format == "float16"


def test_the_option_of_a_recipe_step():
    with pytest.warns(FutureWarning, match="step 1 .int8.: the field 'recipe' is now") as told:
        read = read_recipe({"steps": [{"int8": {"recipe": "float16"}}]}, STEPS)
    assert told[0].filename == __file__
    assert read.steps[0].options.format == "float16"
    with pytest.raises(ConfigError, match="old name of 'format', and both are given"):
        read_recipe({"steps": [{"int8": {"recipe": "int8", "format": "int8"}}]}, STEPS)


def test_a_step_kind_by_the_old_names_of_its_flags():
    def run(model, options, context):
        return tfc.StepResult(model)

    with pytest.warns(
        DeprecationWarning, match="'ends' of StepKind.. is now called 'yields_litert'"
    ):
        kind = tfc.StepKind(run, dict, "mine", ends=True)
    assert kind == tfc.StepKind(run, dict, "mine", yields_litert=True)
    for old, new in (("starts", "builds_model"), ("fills", "destroys_zeros")):
        with pytest.warns(DeprecationWarning, match=f"StepKind.{old} is now called '{new}'"):
            assert getattr(kind, old) is False
