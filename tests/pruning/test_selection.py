import pytest

from tfcompress.errors import ConfigError, LayerError
from tfcompress.pruning.selection import parse_config_list, select


def chosen(model, config_list):
    found = select(model, parse_config_list(config_list))
    return {"/".join(target.key): target.sparsity for target in found.targets}


def test_default_is_what_nni_meant(tiny_model):
    assert chosen(tiny_model, [{"sparsity": 0.8, "op_types": ["default"]}]) == {
        "conv/kernel": 0.8,
        "slopes/alpha": 0.8,
        "hidden/kernel": 0.8,
        "head/kernel": 0.8,
    }


def test_last_match_wins(tiny_model):
    config_list = [
        {"sparsity": 0.8, "op_types": ["default"]},
        {"sparsity": 0.5, "op_types": ["Dense"]},
        {"sparsity": 0.3, "op_names": ["head"]},
        {"exclude": True, "op_names": ["slopes"]},
    ]
    found = chosen(tiny_model, config_list)
    assert found == {"conv/kernel": 0.8, "hidden/kernel": 0.5, "head/kernel": 0.3}
    skipped = dict(select(tiny_model, parse_config_list(config_list)).skipped)
    assert skipped["slopes"] == "excluded by config_list[3]"
    assert skipped["norm"] == "BatchNormalization matches no entry"


def test_type_and_name_must_both_match(tiny_model):
    entry = {"sparsity": 0.5, "op_types": ["Dense"], "op_names": ["h*"]}
    assert chosen(tiny_model, [entry]) == {"hidden/kernel": 0.5, "head/kernel": 0.5}


def test_globs(tiny_model):
    assert chosen(tiny_model, [{"sparsity": 0.5, "op_names": ["*d*"]}]) == {
        "hidden/kernel": 0.5,
        "head/kernel": 0.5,
    }


def test_exclude_false_excludes_nothing(tiny_model):
    config_list = [{"sparsity": 0.5, "op_types": ["Dense"], "exclude": False}]
    assert len(chosen(tiny_model, config_list)) == 2


def test_everything_leaves_normalization_and_biases_alone(tiny_model):
    found = select(tiny_model, parse_config_list([{"sparsity": 0.5}]))
    assert [target.key[1] for target in found.targets] == ["kernel", "alpha", "kernel", "kernel"]
    assert dict(found.skipped) == {"norm": "BatchNormalization is never pruned"}


def test_containers_pass_an_entry_on(library):
    layers = library.layers
    inputs = library.Input((6, 4))
    block = library.Sequential([layers.Dense(4, name="inner")], name="encoder")
    x = block(inputs)
    x = layers.LSTM(3, name="memory")(x)
    model = library.Model(inputs, layers.Dense(2, name="inner")(x))
    assert set(chosen(model, [{"sparsity": 0.5, "op_names": ["encoder"]}])) == {
        "encoder/inner/kernel"
    }
    assert set(chosen(model, [{"sparsity": 0.5, "op_types": ["LSTM"]}])) == {
        "memory/lstm_cell/kernel",
        "memory/lstm_cell/recurrent_kernel",
    }
    assert set(chosen(model, [{"sparsity": 0.5, "op_names": ["inner"]}])) == {
        "encoder/inner/kernel",
        "inner/kernel",
    }


def test_shared_layer_is_chosen_once(library):
    inputs = library.Input((4,))
    shared = library.layers.Dense(4, name="shared")
    model = library.Model(inputs, shared(shared(inputs)))
    assert chosen(model, [{"sparsity": 0.5}]) == {"shared/kernel": 0.5}


BAD = [
    ("default", "must be a list of dicts"),
    ({"sparsity": 0.8}, "must be a list of dicts"),
    ([], "it is empty"),
    (["default"], "must be a dict"),
    ([{"op_types": ["default"]}], "it has no sparsity"),
    ([{"sparsity": 1.0}], r"must be in \[0, 1\)"),
    ([{"sparsity": 1.7}], r"must be in \[0, 1\)"),
    ([{"sparsity": -0.5}], r"must be in \[0, 1\)"),
    ([{"sparsity": "0.8"}], "not a number"),
    ([{"sparsity": True}], "not a number"),
    ([{"sparsity": float("nan")}], "not a number"),
    ([{"sparsity": 0.8, "op_type": ["Dense"]}], "unknown key 'op_type'.*op_types, op_names"),
    ([{"sparsity": 0.8, "op_types": "Conv2D"}], r"not a list.*write \['Conv2D'\]"),
    ([{"sparsity": 0.8, "op_types": []}], "op_types is empty"),
    ([{"sparsity": 0.8, "op_names": [3]}], "not a string"),
    ([{"sparsity": 0.8, "exclude": "yes"}], "exclude is 'yes'"),
    ([{"sparsity": 0.8, "exclude": True}], "both sparsity and exclude"),
]


@pytest.mark.parametrize(("config_list", "message"), BAD)
def test_bad_config_lists(config_list, message):
    with pytest.raises(ConfigError, match=message):
        parse_config_list(config_list)


def test_unknown_type_lists_the_models(tiny_model):
    with pytest.raises(ConfigError, match=r"config_list\[1\]: unknown op_type 'Conv2d'.*Conv2D"):
        chosen(tiny_model, [{"sparsity": 0.8}, {"sparsity": 0.5, "op_types": ["Conv2d"]}])


def test_unknown_name_lists_the_models(tiny_model):
    with pytest.raises(ConfigError, match=r"no layer is named 'haed'.*conv, norm, slopes, hidden"):
        chosen(tiny_model, [{"sparsity": 0.8, "op_names": ["haed"]}])


def test_a_known_type_that_the_model_lacks_is_no_error(tiny_model):
    assert len(chosen(tiny_model, [{"sparsity": 0.8, "op_types": ["Dense", "Conv3D"]}])) == 2


def test_unbuilt_model(library):
    with pytest.raises(LayerError, match="it has no weights yet.*build it first"):
        chosen(library.Sequential([library.layers.Dense(3)]), [{"sparsity": 0.8}])
