"""How far a recipe goes: what it refuses before work, and what counts as held."""

import numpy as np
import pytest

from experiments.common.recipe_config import RecipeConfig, at_share
from experiments.common.recipe_curve import Curve, check_reach
from tfcompress.comparison import Comparison, ModelRow
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import Latency
from tfcompress.pipeline.recipe import read_recipe
from tfcompress.pipeline.steps import STEPS
from tfcompress.reporting.run import open_run

PRUNE = {"channel_prune": {"target_macs": 0.5, "min_kept": 0.25, "budget": {"quality_drop": 0.1}}}


def recipe(*steps):
    return read_recipe({"budget": {"quality_drop": 0.02, "macs": 0.5}, "steps": list(steps)}, STEPS)


def test_the_share_is_replaced_and_nothing_rolled_back():
    prune, lite = at_share(recipe(PRUNE, "int8"), 0.1).steps
    assert (prune.options.target_macs, prune.options.min_kept) == (0.1, 0.1)
    assert prune.budget.quality_drop == lite.budget.quality_drop == 1.0
    assert at_share(recipe(PRUNE, "int8"), 0.1).budget.macs is None
    assert at_share(recipe(PRUNE), 0.4).steps[0].options.min_kept == 0.25


@pytest.mark.parametrize(
    ("steps", "share", "message"),
    [
        ((PRUNE,), 1.5, "further: it has 1.5"),
        (("int8",), 0.1, "the recipe has 0 channel_prune steps"),
        ((PRUNE, PRUNE), 0.1, "the recipe has 2 channel_prune steps"),
        (({"channel_prune": {"sparsity": 0.5}},), 0.1, "channel_prune has no target_macs"),
    ],
)
def test_recipes_without_one_share_of_macs_are_refused(steps, share, message):
    with pytest.raises(ConfigError, match=message):
        at_share(recipe(*steps), share)


def test_a_share_out_of_reach_shows_before_any_training(tmp_path, tiny_model):
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: [{channel_prune: {target_macs: 0.5, epochs: 3}}]")
    check_reach(RecipeConfig(recipe=str(path), further=(0.5,)), lambda: tiny_model)
    nothing_asked = RecipeConfig(recipe=str(path))
    check_reach(nothing_asked, lambda: pytest.fail("a model was built"))
    with pytest.raises(ConfigError, match="cannot be reached"):
        check_reach(RecipeConfig(recipe=str(path), further=(0.5, 1e-4)), lambda: tiny_model)


def row(name, macs, quality):
    latency = Latency(macs / 10, macs / 10, macs / 10, 10, 1, 1, "LiteRT XNNPACK")
    return ModelRow(
        name, "LiteRT int8", 10, 0, macs, macs, macs, latency, {"mean_iou": quality}, {}, (quality,)
    )


@pytest.fixture
def curve():
    rows = (row("0 start", 100, 0.9), row("0.1", 10, 0.895), row("0.05", 5, 0.85))
    return Curve(Comparison(rows, ("all",), 4), allowed=0.01, split="test")


def test_held_is_what_lost_no_more_than_allowed(curve):
    assert [r.name for r in curve.held] == ["0 start", "0.1"]
    assert np.isclose(curve.lost(curve.comparison.rows[2]), 0.05)
    assert curve.table().notes[-1] == "cheapest that loses at most 0.01 on the test samples: 0.1"


def test_the_curve_is_drawn_against_macs_latency_and_bytes(curve, tmp_path):
    run = open_run(tmp_path, "curve", "default", {}, False)
    section = curve.section(run, "mean IoU")
    assert [path.name for _, path in section.pictures] == [
        "further_macs.png",
        "further_latency.png",
        "further_file_size.png",
    ]
