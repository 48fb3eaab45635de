"""A space converts to both tools and back; values are checked; bad spaces are refused."""

import json

import keras_tuner
import numpy as np
import pytest
from nni.common.hpo_utils import deformat_parameters, format_search_space
from nni.common.hpo_utils.validation import validate_search_space

from tfcompress.errors import ConfigError
from tfcompress.tuning.keras_tuner.space import from_keras_tuner, to_keras_tuner, tuner_values
from tfcompress.tuning.nni.space import (
    flat_values,
    from_nni,
    nested_values,
    read_nni_space,
    to_nni,
    write_nni_space,
)
from tfcompress.tuning.space import Choice, Integer, LogUniform, SearchSpace, Uniform

SPACE = SearchSpace(
    {
        "learning_rate": LogUniform(1e-4, 1e-2),
        "dropout": Uniform(0.0, 0.5, default=0.1),
        "depth": Integer(2, 5),
        "width": Integer(8, 64, log=True),
        "batch": Choice((4, 8, 16), default=8),
        "optimizer": Choice(("adam", "sgd", "rmsprop")),
        "momentum": Uniform(0.0, 0.9, when=("optimizer", ("sgd", "rmsprop"))),
        "nesterov": Choice(("yes", "no"), when=("optimizer", ("sgd",))),
        "patience": Integer(1, 3, when=("nesterov", ("yes",))),
    }
)

# What NNI's manual asks for, written by hand.
PATIENCE = {"_type": "randint", "_value": [1, 4]}
MOMENTUM = {"_type": "uniform", "_value": [0.0, 0.9]}
NNI = {
    "learning_rate": {"_type": "loguniform", "_value": [1e-4, 1e-2]},
    "dropout": {"_type": "uniform", "_value": [0.0, 0.5]},
    "depth": {"_type": "randint", "_value": [2, 6]},
    "width": {"_type": "qloguniform", "_value": [8, 64, 1]},
    "batch": {"_type": "choice", "_value": [4, 8, 16]},
    "optimizer": {
        "_type": "choice",
        "_value": [
            {"_name": "adam"},
            {
                "_name": "sgd",
                "momentum": MOMENTUM,
                "nesterov": {
                    "_type": "choice",
                    "_value": [{"_name": "yes", "patience": PATIENCE}, {"_name": "no"}],
                },
            },
            {"_name": "rmsprop", "momentum": MOMENTUM},
        ],
    },
}


def without_defaults(space):
    return {
        name: {key: v for key, v in vars(d).items() if key != "default"}
        for name, d in space.dimensions.items()
    }


def test_nni_json_is_what_the_manual_says():
    assert to_nni(SPACE) == NNI
    flat = {name: d for name, d in NNI.items() if name != "optimizer"}
    assert validate_search_space(flat, raise_exception=True)


def test_nni_reads_back(tmp_path):
    write_nni_space(SPACE, tmp_path / "search_space.json")
    again = read_nni_space(tmp_path / "search_space.json")
    assert without_defaults(again) == without_defaults(SPACE)


def test_nni_itself_gives_values_that_decode():
    """NNI's own formatter makes a trial's parameters of indices; they decode and encode back."""
    formatted = format_search_space(to_nni(SPACE))
    index = {
        "learning_rate": np.log(0.001), "dropout": 0.25, "depth": 1, "width": np.log(20.3),
        "batch": 2,
    }  # fmt: skip
    given = {(name,): value for name, value in index.items()}
    given |= {
        ("optimizer",): 1,
        ("optimizer", 1, "momentum"): 0.5,
        ("optimizer", 1, "nesterov"): 0,
        ("optimizer", 1, "nesterov", 0, "patience"): 2,
    }
    parameters = deformat_parameters(given, formatted)
    values = SPACE.decode(flat_values(parameters))
    assert values == {
        "learning_rate": pytest.approx(0.001), "dropout": 0.25, "depth": 3, "width": 20,
        "batch": 16, "optimizer": "sgd", "momentum": 0.5, "nesterov": "yes", "patience": 3,
    }  # fmt: skip
    assert type(values["width"]) is int
    assert flat_values(nested_values(SPACE, values)) == values
    assert json.loads(json.dumps(nested_values(SPACE, values)))["optimizer"]["_name"] == "sgd"


def test_keras_tuner_reads_back():
    hp = to_keras_tuner(SPACE, keras_tuner.HyperParameters())
    assert from_keras_tuner(hp) == SearchSpace(
        {name: type(d)(**{**vars(d), "default": d.typical}) for name, d in SPACE.dimensions.items()}
    )


def test_names_that_nnis_tuner_takes_for_comments():
    """Its messages go through a parser that drops what follows "#" or "//", quoted or not."""
    import json_tricks

    space = SearchSpace(
        {
            "weight_#00FF00": Uniform(0.2, 5),
            "net//": Choice(("a#b", "c//d")),
            "inner#": Uniform(0, 1, when=("net//", ("a#b",))),
        }
    )
    written = to_nni(space)
    assert from_nni(written).dimensions.keys() == space.dimensions.keys()
    values = {"weight_#00FF00": 0.3, "net//": "a#b", "inner#": 0.5}
    nested = nested_values(space, values)
    assert flat_values(nested) == values

    def through_nni(parameters):
        """As its manager tells the tuner that a trial ended."""
        ended = {"trial_job_id": "a", "hyper_params": json.dumps({"parameters": parameters})}
        message = json.dumps({"type": "EN", "content": json.dumps(ended)})
        content = json_tricks.loads(message, ignore_comments=True)["content"]
        ended = json_tricks.loads(content, ignore_comments=True)
        return json_tricks.loads(ended["hyper_params"], ignore_comments=True)["parameters"]

    assert flat_values(through_nni(nested)) == values
    with pytest.raises(ValueError, match="Unterminated string"):
        through_nni(values)


@pytest.mark.parametrize("seed", range(5))
def test_keras_tuner_gives_values_that_decode(seed):
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("score", "max"),
        hyperparameters=to_keras_tuner(SPACE, keras_tuner.HyperParameters()),
        seed=seed + 1,
    )
    given = oracle.populate_space("0")["values"]
    values = SPACE.decode(tuner_values({**given, "tuner/epochs": 3}))
    assert values == {name: given[name] for name in values}
    assert ("momentum" in values) == (values["optimizer"] != "adam")
    assert ("patience" in values) == (values.get("nesterov") == "yes")


def test_keras_tuners_own_kinds_read_back():
    hp = keras_tuner.HyperParameters()
    hp.Fixed("fixed", 7)
    hp.Boolean("flag", default=True)
    hp.Int("stepped", 2, 10, step=4)
    hp.Float("grid", 0.0, 1.0, step=0.5)
    space = from_keras_tuner(hp)
    assert space.dimensions["fixed"].options == (7,)
    assert space.dimensions["flag"] == Choice((False, True), True)
    assert space.dimensions["stepped"].options == (2, 6, 10)
    assert space.dimensions["grid"].options == (0.0, 0.5, 1.0)
    hp.Float("odd", 0.1, 1.0, sampling="reverse_log")
    with pytest.raises(ConfigError, match="'odd'.*reverse_log"):
        from_keras_tuner(hp)


def test_options_that_are_no_plain_values_go_as_labels():
    space = SearchSpace({"filters": Choice(((8, 16), (16, 32))), "flag": Choice((True, False))})
    assert to_nni(space)["filters"]["_value"] == ["(8, 16)", "(16, 32)"]
    assert space.decode({"filters": "(16, 32)", "flag": "False"}) == {
        "filters": (16, 32),
        "flag": False,
    }
    assert space.decode({"filters": [8, 16]})["filters"] == (8, 16)
    hp = to_keras_tuner(space, keras_tuner.HyperParameters())
    assert hp.values == {"filters": "(8, 16)", "flag": "True"}
    hp.values["flag"] = "False"
    assert space.decode(hp.values) == {"filters": (8, 16), "flag": False}


def test_samples_lie_in_their_dimensions():
    rng = np.random.default_rng(0)
    samples = [SPACE.sample(rng) for _ in range(400)]
    for values in samples:
        assert SPACE.decode(values) == values
        assert all(0 <= SPACE.unit(name, value) <= 1 for name, value in values.items())
    assert {values["depth"] for values in samples} == {2, 3, 4, 5}
    middle = np.median([values["learning_rate"] for values in samples])
    assert 6e-4 < middle < 1.7e-3  # of a log-uniform: sqrt(1e-4 * 1e-2) = 1e-3
    assert SPACE.unit("width", 8) == 0
    assert SPACE.unit("width", 64) == 1


def test_defaults():
    assert SPACE.defaults() == {
        "learning_rate": pytest.approx(1e-3), "dropout": 0.1, "depth": 4, "width": 23, "batch": 8,
        "optimizer": "adam",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({}, "no dimensions"),
        ({"x": Uniform(1.0, 1.0)}, "'x'.*range from 1 to 1 is empty"),
        ({"x": LogUniform(0.0, 1.0)}, "'x'.*lower end 0 has no logarithm"),
        ({"x": Integer(5, 2)}, "'x'.*range from 5 to 2 is empty"),
        ({"x": Uniform(0.0, float("inf"))}, "'x'.*not finite"),
        ({"x": Uniform(0.0, 1.0, default=2.0)}, "'x'.*default 2"),
        ({"x": Uniform("a", 1.0)}, "'x'.*are not numbers"),
        ({"x": Integer(1.5, 4)}, "'x'.*are not integers"),
        ({"x": Choice(())}, "'x'.*no options"),
        ({"x": Choice(("a", "a"))}, "'x'.*contain duplicates"),
        ({"x": Choice(("a",), default="b")}, "'x'.*not among its options"),
        ({"x": Uniform(0.0, 1.0, when=("y", ("a",)))}, "'x'.*'y', which is not an earlier Choice"),
        (
            {"y": Choice(("a",)), "x": Uniform(0.0, 1.0, when=("y", ("b",)))},
            "'x'.*'y' does not have",
        ),
    ],
)
def test_bad_spaces(dimensions, message):
    with pytest.raises(ConfigError, match=message):
        SearchSpace(dimensions)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": {"_type": "uniform", "_value": [2, 1]}}, "'x'.*empty"),
        ({"x": {"_type": "normal", "_value": [0, 1]}}, "'x'.*'normal'.*uniform"),
        ({"x": {"_type": "uniform", "_value": ["a", 1]}}, "'x'.*not valid values of 'uniform'"),
        ({"x": 3}, "'x'.*no _type"),
        (
            {
                "c": {
                    "_type": "choice",
                    "_value": [{"_name": "a", "x": MOMENTUM}, {"_name": "b", "x": PATIENCE}],
                }
            },
            "'x'.*two different",
        ),
    ],
)
def test_bad_nni_spaces(content, message):
    with pytest.raises(ConfigError, match=message):
        from_nni(content)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1}, "unknown 'rate'.*learning_rate"),
        ({"dropout": 0.7}, "dropout is 0.7.*0 to 0.5"),
        ({"depth": 2.5}, "depth is 2.5.*not an integer"),
        ({"batch": 5}, "batch is 5.*4 | 8 | 16"),
        ({"dropout": "much"}, "dropout is 'much'"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ConfigError, match=message):
        SPACE.decode(values, "best.json")


def test_quantized_nni_kinds():
    space = from_nni(
        {
            "n": {"_type": "quniform", "_value": [1, 4, 1]},
            "q": {"_type": "quniform", "_value": [0.1, 0.5, 0.2]},
        }
    )
    assert space.dimensions["n"] == Integer(1, 4)
    # NNI rounds to multiples of 0.2 and clips: 0.0 -> 0.1, 0.2, 0.4, (0.6 ->) 0.5 is out of reach
    assert space.dimensions["q"].options == pytest.approx((0.1, 0.2, 0.4))


def test_table_names_conditions():
    assert "optimizer is sgd or rmsprop" in str(SPACE.table())
