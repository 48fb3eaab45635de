"""Run a recipe: one step after the other, each measured, and rolled back if it costs too much.

```python
result = compress(
    model,                                       # trained and compiled
    CompressionData(train=(x, y), val=(vx, vy), test=(tx, ty)),
    {"budget": {"quality_drop": 0.01, "macs": 0.25},
     "steps": [{"channel_prune": {"target_macs": 0.25, "epochs": 10}}, {"distill": {}}, "int8"]},
    folder="compressed",
)
print(result)
result.files[".tflite"]
```

The techniques are in `pipeline.steps.STEPS`; this file knows none of them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfcompress.atomic import atomic_path, write_text
from tfcompress.comparison import Comparison, compare
from tfcompress.errors import ConfigError, RunError
from tfcompress.evaluation.latency import measure_latency
from tfcompress.graph.layers import flavor_of
from tfcompress.graph.rebuild import carry_compile_state
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel, to_litert
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.outcome import CompressResult, Outcome, over_budget
from tfcompress.pipeline.recipe import Budget, Recipe, read_recipe
from tfcompress.pipeline.step import Builder, Context, Fit, StepKind
from tfcompress.pipeline.steps import STEPS
from tfcompress.pipeline.training import Trainer, fit_keras

KERAS, LITE, OUTCOME, SPEC = "model.keras", "model.tflite", "outcome.json", "recipe.json"
CHOSEN = "chosen"
PRUNED_FROM = 0.1
"""Share of zeros above which a model counts as pruned; zero-initialized layers have fewer."""


def compress(
    model: Any,
    data: CompressionData,
    recipe: str | Path | Mapping[str, Any] | Recipe,
    folder: str | os.PathLike[str],
    *,
    fit: Fit = fit_keras,
    builder: Builder | None = None,
    kinds: Mapping[str, StepKind] = STEPS,
    card: Mapping[str, Any] | None = None,
    seed: int = 0,
    threads: int = 1,
    tell: Callable[[str], None] | None = print,
) -> CompressResult:
    """Run a recipe. A second call with the same folder reuses the steps that are finished.

    A step is kept if it is within its budget on the validation set; otherwise the next step starts
    from the model before it. Zeros of a `level_prune` step are held by all later steps. So are the
    zeros of a model that was pruned before (more than a tenth of its kernels' weights). At the end
    the fastest kept model that meets the recipe's budget is exported. Every number is measured on
    the file that was read back.

    Args:
        model: Trained and compiled Keras 3 model, functional or Sequential; not changed. The steps
            train with its loss, metrics and optimizer, and it is the teacher of `distill`.
        data: Samples of all splits.
        recipe: Path of a YAML file, its content, or a `Recipe`.
        folder: Folder for the files of the steps, one subfolder each.
        fit: Function that trains. Default: Keras' `fit`, best epoch by validation loss.
        builder: Source of models for steps that search.
        kinds: Known kinds of steps, by name.
        card: Description of the model's inputs (classes, scaling), written into every LiteRT file.
        seed: Seed of all random numbers.
        threads: Number of LiteRT threads for latency.
        tell: Function that prints a line per step; None prints nothing.

    Returns:
        The measured steps, the chosen model and its files.

    Raises:
        ConfigError: A wrong recipe, a model that is not compiled, or an option that the model
            cannot satisfy; raised before the first step.
        RunError: The folder holds the steps of another recipe or another model.
    """
    tell = tell or (lambda line: None)
    plan = read_recipe(recipe, kinds)
    _check(model, plan, builder, kinds)
    recipe_folder = _RecipeFolder(Path(folder), data, threads, card or {}, kinds)
    start = recipe_folder.start(model)
    outcomes, current = [start], start
    has_zeros = start.zeros > PRUNED_FROM * start.parameters
    if has_zeros:
        tell(f"the model has {start.zeros / start.parameters:.1%} zeros, which are kept")
    for number, step in enumerate(plan.steps, start=1):
        path = recipe_folder.root / f"{number:02d}-{step.kind}"
        # The result of a step depends on all steps up to it.
        spec = {"seed": seed, "steps": [s.to_dict() for s in plan.steps[:number]]}
        outcome = recipe_folder.finished(path, spec)
        if outcome is None:
            tell(f"step {number} of {len(plan.steps)}: {step.kind}")
            path.mkdir(parents=True, exist_ok=True)
            write_text(path / SPEC, json.dumps(spec, indent=1) + "\n")
            base = recipe_folder.keras_model(start)
            carry_compile_state(model, base)
            trainer = Trainer(base, data, fit, path, step.kind, seed, has_zeros)
            context = Context(
                base, data, path, trainer, recipe_folder.quality, seed, tell, builder, has_zeros
            )
            began = time.monotonic()
            keras.utils.set_random_seed(seed)
            result = kinds[step.kind].run(recipe_folder.keras_model(current), step.options, context)
            outcome = recipe_folder.measure(
                number, step.kind, result.model, result.notes, began, start, step.budget
            )
            write_text(path / "history.json", json.dumps(list(result.history)) + "\n")
            write_text(path / OUTCOME, json.dumps(outcome.to_dict(), indent=1) + "\n")
        verdict = "kept" if outcome.kept else f"rolled back: {'; '.join(outcome.missed)}"
        tell(
            f"  {outcome.name}: quality {outcome.quality:.4f} ({start.quality:.4f} at the start), "
            f"{outcome.speed:.2f}x as fast, {outcome.size_bytes:,} bytes, "
            f"{outcome.seconds:.0f} s; {verdict}"
        )
        outcomes.append(outcome)
        if outcome.kept:
            current = outcome
            has_zeros = has_zeros or kinds[step.kind].makes_zeros
    return recipe_folder.finish(tuple(outcomes), plan.budget)


def _check(
    model: Any, plan: Recipe, builder: Builder | None, kinds: Mapping[str, StepKind]
) -> None:
    """Raise now the errors that would come after hours of training."""
    if flavor_of(model) != "keras":
        raise ConfigError(
            f"model {model.name!r}", "it is a tf_keras model", "cross it: tfcompress.to_keras3(...)"
        )
    if not getattr(model, "compiled", False):
        raise ConfigError(
            f"model {model.name!r}", "it is not compiled", "compile it with its loss and optimizer"
        )
    for step in plan.steps:
        kind = kinds[step.kind]
        kind.check(step.options, model, builder)
        if (
            kind.builds_model or kind.destroys_zeros
        ):  # later steps see other layers than this model has
            break


class _RecipeFolder:
    """The folder of a recipe: it stores each step's model, reads it back and measures it."""

    def __init__(
        self,
        root: Path,
        data: CompressionData,
        threads: int,
        card: Mapping[str, Any],
        kinds: Mapping[str, StepKind],
    ) -> None:
        self.root = root
        self.data = data
        self.threads = threads
        self.card = card
        self.kinds = kinds

    def start(self, model: Any) -> Outcome:
        """The original model, saved and measured, or read back from an earlier call.

        Raises:
            RunError: The folder was made with another model.
        """
        path = self.root / "00-start"
        path.mkdir(parents=True, exist_ok=True)
        if (path / OUTCOME).is_file():
            earlier = keras.saving.load_model(path / KERAS, compile=False)
            pairs = list(zip(earlier.get_weights(), model.get_weights(), strict=False))
            same = len(earlier.weights) == len(model.weights)
            if not same or not all(np.array_equal(one, other) for one, other in pairs):
                raise RunError(
                    str(self.root), "it was begun with another model", "choose another folder"
                )
            return _read(path)
        outcome = self.measure(0, "start", model, (), time.monotonic(), None, Budget())
        write_text(path / OUTCOME, json.dumps(outcome.to_dict(), indent=1) + "\n")
        return outcome

    def finished(self, path: Path, spec: Mapping[str, Any]) -> Outcome | None:
        """The outcome of a step in an earlier call; None if the step did not finish.

        Raises:
            RunError: The step's folder was made with another recipe.
        """
        if not (path / SPEC).is_file():
            return None
        theirs = _in_present_words(json.loads((path / SPEC).read_text("utf-8")), self.kinds)
        if theirs != json.loads(json.dumps(spec)):
            raise RunError(
                str(path),
                "it holds a step with other options, or after other steps",
                "choose another folder, or delete this one",
            )
        return _read(path) if (path / OUTCOME).is_file() else None

    def keras_model(self, outcome: Outcome) -> Any:
        """A new copy of a kept model, read from its file."""
        return keras.saving.load_model(self.root / outcome.folder / KERAS, compile=False)

    def quality(self, model: Any) -> float:
        """The quality of a model on the validation set."""
        row = compare(model, data=self.data.val, latency=False, memory=False).rows[0]
        return next(iter(row.quality.values()))

    def measure(
        self,
        number: int,
        kind: str,
        model: Any,
        notes: tuple[str, ...],
        began: float,
        start: Outcome | None,
        budget: Budget,
    ) -> Outcome:
        """Save a step's model, read it back, and measure it in turn with the original."""
        folder = self.root / f"{number:02d}-{kind}"
        lite = model
        if not isinstance(model, LiteModel):
            save_plain(model, folder / KERAS, training_state=False)
            lite = to_litert(keras.saving.load_model(folder / KERAS, compile=False))
        lite.with_card(self.card).save(folder / LITE)
        seconds = time.monotonic() - began
        again = LiteModel.load(folder / LITE)
        first = again if start is None else LiteModel.load(self.root / start.folder / LITE)
        row = compare(again, data=self.data.val, latency=False, memory=False).rows[0]
        before, now = measure_latency([first, again], threads=self.threads)
        outcome = Outcome(
            number=number,
            kind=kind,
            quality=next(iter(row.quality.values())),
            macs=int(row.macs or 0),
            parameters=row.weights,
            zeros=row.zeros,
            size_bytes=row.size_bytes,
            latency_ms=now.median_ms,
            base_latency_ms=before.median_ms,
            seconds=seconds,
            kept=True,
            missed=(),
            notes=notes,
            format=lite.format,
        )
        missed = over_budget(budget, start or outcome, outcome)
        return replace(outcome, kept=not missed, missed=missed)

    def finish(self, outcomes: tuple[Outcome, ...], budget: Budget) -> CompressResult:
        """Choose and export a model, and compare the kept ones on the test set."""
        kept = [outcome for outcome in outcomes if outcome.kept]
        good = [o for o in kept if not over_budget(budget, outcomes[0], o)]
        chosen = max(good, key=lambda o: o.speed) if good else kept[-1]
        files = {}
        for name in (KERAS, LITE):
            source = self.root / chosen.folder / name
            target = self.root / f"{CHOSEN}{source.suffix}"
            if source.is_file():
                with atomic_path(target) as temporary:
                    shutil.copyfile(source, temporary)
                files[source.suffix] = target
            else:
                target.unlink(missing_ok=True)
        result = CompressResult(
            folder=self.root,
            outcomes=outcomes,
            chosen=chosen,
            missed=over_budget(budget, outcomes[0], chosen),
            files=files,
            comparison=self._compared(kept),
            split=self.data.report_split,
        )
        write_text(self.root / "result.json", json.dumps(result.to_dict(), indent=1) + "\n")
        return result

    def _compared(self, kept: list[Outcome]) -> Comparison:
        lites = [LiteModel.load(self.root / outcome.folder / LITE) for outcome in kept]
        return compare(
            *lites,
            data=getattr(self.data, self.data.report_split),
            names=[f"{o.name}, {o.format}" for o in kept],
            threads=self.threads,
        )


def _read(path: Path) -> Outcome:
    return Outcome.from_dict(json.loads((path / OUTCOME).read_text(encoding="utf-8")))


def _in_present_words(spec: Mapping[str, Any], kinds: Mapping[str, StepKind]) -> dict[str, Any]:
    """A folder's steps as they would be written today.

    Options that were renamed since get their new name, and those that did not exist yet their
    default: a folder stays usable after an update.
    """
    steps = []
    for step in spec["steps"]:
        written = dict(step)
        for kind in kinds.keys() & step.keys():
            options = kinds[kind].options
            renamed: Mapping[str, str] = getattr(options, "RENAMED", {})
            defaults = {
                field.name: field.default
                for field in fields(options)
                if field.default is not MISSING
            }
            given = {renamed.get(name, name): value for name, value in step[kind].items()}
            written[kind] = {**json.loads(json.dumps(defaults)), **given}
        steps.append(written)
    return {**spec, "steps": steps}
