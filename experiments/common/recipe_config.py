"""The fields of programs that run a recipe, and recipes derived from another one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from experiments.common.inputs import check_file
from tfcompress.errors import ConfigError
from tfcompress.pipeline.recipe import Budget, Recipe, read_recipe
from tfcompress.pipeline.steps import STEPS

STEPS_FOLDER = "steps"
"""Folder of the recipe below the run's."""
PRUNE = "channel_prune"
RECIPE_FILES = "experiments/recipes"


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Fields of programs that run a recipe, beside those of their data."""

    recipe: str = ""
    """YAML file of the steps and the budget."""
    model: str = ""
    """Trained .keras model of the same classes and input; empty: one is trained."""
    further: tuple[float, ...] = ()
    """Further shares of the MACs for the recipe's channel_prune, each run from the same model and
    drawn as a curve."""
    smoke_steps: bool = False
    """Whether each step trains as little as it allows and nothing is rolled back."""

    def check_recipe(self) -> None:
        """Check the recipe before anything is trained."""
        self.steps()
        for share in self.further:
            at_share(self.steps(), share)
        check_file(self.model, "model", "give a .keras file")

    def steps(self) -> Recipe:
        """The recipe."""
        recipe = read_recipe(self.recipe, STEPS)
        return without_training(recipe) if self.smoke_steps else recipe


def without_training(recipe: Recipe) -> Recipe:
    """The same steps with as little training as they allow, and nothing rolled back."""
    steps = []
    for step in recipe.steps:
        loose = replace(step.budget, quality_drop=1.0)
        steps.append(replace(step, options=_shortest(step.options), budget=loose))
    return Recipe(tuple(steps), replace(recipe.budget, quality_drop=1.0))


def at_share(recipe: Recipe, share: float) -> Recipe:
    """The recipe with another share of the MACs in its `channel_prune`, and no budget.

    Raises:
        ConfigError: A share that is none, or a recipe that has not one `channel_prune` to a share
            of the MACs.
    """
    if not 0 < share < 1:
        raise ConfigError("further", f"it has {share:g}", "give shares of the MACs, as 0.1")
    prunings = [step for step in recipe.steps if step.kind == PRUNE]
    problem = ""
    if len(prunings) != 1:
        problem = f"the recipe has {len(prunings)} {PRUNE} steps"
    elif prunings[0].options.target_macs is None:
        problem = f"{PRUNE} has no target_macs"
    if problem:
        fix = f"use a recipe with one {PRUNE} to a share of the MACs, or leave it out"
        raise ConfigError("further", problem, fix)
    steps = []
    for step in recipe.steps:
        options = step.options
        if step.kind == PRUNE:
            # Cut alike, each group keeps the share's square root: this leaves room below it.
            options = replace(options, target_macs=share, min_kept=min(options.min_kept, share))
        steps.append(replace(step, options=options, budget=Budget(quality_drop=1.0)))
    return Recipe(tuple(steps), Budget(quality_drop=1.0))


def _shortest(options: Any) -> Any:
    """A step's options with no epochs and trials, or one where it needs one."""
    for name in {"epochs", "trials"} & asdict(options).keys():
        try:
            options = replace(options, **{name: 0})
        except ConfigError:
            options = replace(options, **{name: 1})
    return options
