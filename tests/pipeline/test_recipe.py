"""Recipes: read from YAML, checked as a whole; budgets by hand."""

import pytest

from tfcompress.errors import ConfigError
from tfcompress.pipeline.recipe import Budget, Recipe, read_recipe
from tfcompress.pipeline.steps import STEPS

START = {"quality": 0.9, "macs": 1000, "size_bytes": 4000, "latency_ms": 10.0}


def read(content):
    return read_recipe(content, STEPS)


def test_a_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "budget: {quality_drop: 0.02, macs: 0.25}\n"
        "steps:\n"
        "  - channel_prune: {target_macs: 0.25, rounds: 2}\n"
        "  - level_prune: {sparsity: 0.5, budget: {quality_drop: 0.05}}\n"
        "  - int8\n"
    )
    recipe = read(path)
    assert [step.kind for step in recipe.steps] == ["channel_prune", "level_prune", "int8"]
    assert recipe.steps[0].options.target_macs == 0.25
    assert recipe.steps[0].options.rounds == 2
    assert [step.budget.quality_drop for step in recipe.steps] == [0.02, 0.05, 0.02]
    assert recipe.budget == Budget(quality_drop=0.02, macs=0.25)
    assert recipe.steps[0].budget.macs is None  # of the result, not of each step
    assert read(recipe) is recipe
    assert "target_macs=0.25" in str(recipe.table())


def test_a_point_may_be_lost_where_nothing_is_said():
    recipe = read({"steps": ["int8"]})
    assert recipe.budget.quality_drop == recipe.steps[0].budget.quality_drop == 0.01


def test_what_a_budget_misses():
    budget = Budget(quality_drop=0.01, macs=0.25, size=0.5, latency=0.5, latency_ms=4, size_bytes=9)
    now = {"quality": 0.88, "macs": 300, "size_bytes": 2000, "latency_ms": 5.0}
    assert budget.missed(START, now) == (
        "quality fell by 0.0200, more than 0.01",
        "macs is 0.300 of the start, not 0.25",
        "2,000 bytes, more than 9",
        "5 ms, more than 4",
    )
    assert Budget(quality_drop=1.0).missed(START, now) == ()
    assert Budget(quality_drop=0).missed(START, {**START, "quality": 0.91}) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"stepz": []}, "recipe: unknown key 'stepz'. Fix: use budget and steps"),
        ({"steps": []}, "no list of steps"),
        ({"steps": ["int9"]}, r"step 1: unknown step 'int9'. Fix: use one of hpo, "),
        ({"steps": [{"distill": {"epoch": 3}}]}, r"step 1 \(distill\): unknown field 'epoch'"),
        ({"steps": [{"distill": {"epochs": "3"}}]}, r"'epochs' is '3'. Fix: give a int"),
        (
            {"steps": [{"channel_prune": {}}]},
            r"\(channel_prune\), ChannelPruneOptions: it has 0",
        ),
        ({"steps": [{"channel_prune": {"target_macs": 2}}]}, "target_macs: it is 2"),
        ({"steps": [{"level_prune": {"sparsity": 1.5}}]}, r"\(level_prune\), sparsity: it is 1.5"),
        ({"steps": [{"level_prune": {"granularity": "9:4"}}]}, "level_prune.*9:4"),
        ({"steps": [{"distill": {"weight": 0}}]}, "weight, channel_weight: both are 0"),
        ({"steps": [{"distill": {"temperature": 0}}]}, "temperature"),
        ({"steps": [{"int8": {"format": "int4"}}]}, "int4"),
        ({"steps": [{"hpo": {"tuner": "hyperband"}}]}, "tuner: 'hyperband' is none here"),
        ({"steps": [{"train": {"epochs": 0}}]}, "epochs: it is 0. Fix: give 1 or more"),
        ({"steps": ["int8"], "budget": {"speed": 2}}, "budget: unknown field 'speed'"),
        ({"steps": ["int8"], "budget": {"quality_drop": None}}, "field .quality_drop. is None"),
        ({"steps": ["int8"], "budget": {"macs": -1}}, "budget, macs: it is -1"),
        ({"steps": ["int8", "train"]}, r"step 1 \(int8\): it gives a LiteRT file"),
        ({"steps": ["train", "hpo"]}, r"step 2 \(hpo\): it makes a new model"),
        (
            {"steps": ["level_prune", "factorize"]},
            r"step 2 \(factorize\): it would fill the zeros of step 1 \(level_prune\)",
        ),
        ({"steps": [["int8"]]}, "is no step"),
    ],
)
def test_bad_recipes(content, message):
    with pytest.raises(ConfigError, match=message):
        read(content)


def test_bad_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("steps: [")
    with pytest.raises(ConfigError, match="it is not valid YAML"):
        read(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- int8")
    with pytest.raises(ConfigError, match="it does not hold a mapping"):
        read(tmp_path / "list.yaml")


def test_a_recipe_in_python_is_checked_too():
    steps = read({"steps": ["int8"]}).steps + read({"steps": ["train"]}).steps
    with pytest.raises(ConfigError, match="it gives a LiteRT file"):
        read(Recipe(steps))
