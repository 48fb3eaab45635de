"""Spaces of the experiments: defaults are the configs', values become fields, files fit."""

import json
from pathlib import Path

import numpy as np
import pytest

import experiments.nni
from experiments.search.spaces import (
    group_sparsities,
    pruning_space,
    trash_fields,
    trash_space,
    unet_fields,
    unet_space,
)
from experiments.search.tasks import TrashSearch, UnetSearch
from tfcompress.data.aerial import AERIAL_CLASSES
from tfcompress.tuning.nni.space import read_nni_space, to_nni

FOLDER = Path(experiments.nni.__file__).parent


def test_defaults_are_the_configs_own_values():
    config = UnetSearch(learning_rate=0.003, filters=(10, 20, 40), batch=6)
    space = unet_space(config, ("a", "b"))
    assert unet_fields(config, space.defaults()) == {
        "class_factors": (1.0, 1.0), "dropout": (0.1,), "learning_rate": 0.003,
        "filters": (10, 20, 40), "batch": 6, "focal_weight": 1.0, "augment_strength": 1.0,
    }  # fmt: skip
    trash = TrashSearch()
    fields = trash_fields(trash_space(trash).defaults())
    assert {name: getattr(trash, name) for name in fields} == fields


def test_six_classes_have_six_weights():
    names = [n for n in unet_space(UnetSearch(), AERIAL_CLASSES.names) if n.startswith("weight_")]
    assert len(names) == 6


def test_group_sparsities_by_hand():
    # b is small and keeps all before the whole has kept 40 %: c = 2 gives a 0.2, b 1.0 (2 * 0.5),
    # (0.2 * 900 + 1.0 * 100) / 1000 = 0.28; the missing 120 of 900 weights make a 0.3333.
    found = group_sparsities({"keep_a": 0.1, "keep_b": 0.5}, {"a": 900, "b": 100}, 0.6)
    assert found == {"a": pytest.approx(1 - 0.3333, abs=1e-4), "b": 0.0}
    even = group_sparsities({"keep_a": 0.2, "keep_b": 0.2}, {"a": 900, "b": 100}, 0.6)
    assert even == {"a": 0.6, "b": 0.6}


def test_group_sparsities_keep_the_whole():
    rng = np.random.default_rng(0)
    weights = {"a": 1000, "b": 50_000, "c": 300_000}
    for _ in range(20):
        params = pruning_space(list(weights)).sample(rng)
        found = group_sparsities(params, weights, 0.8)
        zeros = sum(found[name] * count for name, count in weights.items())
        assert zeros / sum(weights.values()) == pytest.approx(0.8, abs=1e-3)
        assert all(0 <= value < 1 for value in found.values())


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("unet_search_space.json", unet_space(UnetSearch(), AERIAL_CLASSES.names)),
        ("trash_search_space.json", trash_space(TrashSearch())),
    ],
)
def test_files_for_nnictl_are_up_to_date(name, space):
    content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(to_nni(space)))
    assert list(read_nni_space(FOLDER / name)) == list(space)
