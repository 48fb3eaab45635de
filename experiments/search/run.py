"""A search by either tool: the best parameters as a file, and the parts of the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from experiments.common.report import picture
from experiments.search.tasks import SearchFields, Task
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.importance import importance_table
from tfcompress.tuning.nni.space import write_nni_space
from tfcompress.tuning.plots import (
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_progress,
)
from tfcompress.tuning.results import SearchError, SearchResult
from tfcompress.tuning.stopping import HalvingStop, MedianStop, StopRule, replay

Tool = Literal["keras-tuner", "nni"]
PARAMS = "best_params.json"
STOP_RULES = ("halving", "median")
TRIAL_CONFIG = "trial_config.json"


def run_search(run: Run, config: SearchFields, task: Task, tool: Tool, kind: str) -> SearchResult:
    """Search, write `search.csv` and `best_params.json`; the result.

    Args:
        run: Run that trials and files are saved in.
        config: Configuration, with `data` that every trial can read.
        task: Task to search.
        tool: Tool that searches.
        kind: Name of the task for NNI's trial script.
    """
    write_nni_space(task.space, run.path("search_space.json"))
    run.print(task.space.table())
    if tool == "nni":
        found = _by_nni(run, config, task, kind)
    else:
        found = _by_keras_tuner(run, config, task)
    if found.interrupted:
        raise SearchError(
            f"search ({found.tool})", found.stopped_by, "resume with RESUME=1 (--resume)"
        )
    best = found.best
    run.write_json(PARAMS, task.fields(best.params))
    run.write_json("search_result.json", found.to_dict())
    run.write_history(
        [
            {"trial": trial.number, "status": trial.status, **trial.params, **row}
            for trial in found.trials
            for row in trial.history
        ],
        "search.csv",
    )
    return found


def search_report(
    run: Run,
    config: SearchFields,
    task: Task,
    found: SearchResult,
    metric: str,
    validation: Mapping[str, float],
    test: Mapping[str, float],
) -> tuple[list[Section], list[Table | str], str, dict[str, Any]]:
    """The report's parts about a search: sections, tables, headline, metrics.

    Args:
        run: Run that the pictures are saved in.
        config: Configuration of the search.
        task: Task that was searched.
        found: Result.
        metric: Title of the metric.
        validation: Metric on validation with the default and the best parameters.
        test: Metric on the test images, by the same names.
    """
    pictures = [
        picture(run, name, plot(found), caption)
        for name, caption, plot in (
            ("parallel", "Parameters of every trial", plot_parallel_coordinates),
            ("progress", "Objective against trial and wall time", plot_progress),
            ("curves", "Learning curves", plot_learning_curves),
        )
    ]
    spent = effort(config, task, found)
    best = found.best_table()
    tables = (best, found.table(), importance_table(found), task.space.table())
    brought = difference_table(metric, [(name, validation[name], test[name]) for name in test])
    headline = (
        f"{metric[0].upper()}{metric[1:]} on the test images, which no trial saw: "
        f"{test['default']:.4f} with the default parameters, {test['best']:.4f} with the best of "
        f"{len(found.trials)} trials."
    )
    return (
        [Section("Search", text=(spent,), tables=tables, pictures=tuple(pictures))],
        [found.table(12, params=False), best, spent, brought],
        headline,
        {
            "search": {"best": task.fields(found.best.params), "epochs": found.epochs},
            "validation": dict(validation),
        },
    )


def effort(config: SearchFields, task: Task, found: SearchResult) -> str:
    """The epochs that early stopping saved, or would have saved, in words."""
    worked = [trial for trial in found.trials if trial.objective is not None]
    whole = len(worked) * task.epochs
    start = f"{found.tool}: {len(found.trials)} trials trained {found.epochs} epochs"
    if found.tool.lower().endswith("hyperband"):
        return f"{start}, as Hyperband grants them; all to the end would be {whole}."
    if config.early_stop != "no":
        spent = sum(trial.epochs for trial in worked)
        failed = len(found.trials) - len(worked)
        without = f" (without the {failed} that failed)" if failed else ""
        return f"{start}, {spent / whole:.0%} of the {whole} without early stopping{without}."
    curves = [[row[task.objective.metric] for row in t.history] for t in worked if t.history]
    if not curves:
        return f"{start}."
    told = [
        f"by {rule} {would.epochs / would.whole:.0%} of them, for a best of {would.best:.4f}"
        for rule in STOP_RULES
        for would in [replay(stop_rule(task, rule), curves, task.objective.direction)]
    ]
    best = found.best.objective
    return f"{start}, best {best:.4f}. Early stopping would have trained {'; '.join(told)}."


def difference_table(metric: str, values: Sequence[tuple[str, float, float]]) -> Table:
    """Validation and test of the default and the best parameters, as (name, both) in `values`."""
    table = Table(("parameters", f"validation {metric}", f"test {metric}"), title="What it brought")
    for name, validation, test in values:
        table.add(name, f"{validation:.4f}", f"{test:.4f}")
    (_, *before), (_, *after) = values
    table.total("difference", *(f"{b - a:+.4f}" for a, b in zip(before, after, strict=True)))
    table.note("no trial saw the test; both models were then trained for the same epochs and seed")
    return table


def check_tool(config: SearchFields, tool: Tool) -> None:
    """Check the tool, its tuner and its port before the data is read.

    Raises:
        CompressionError: Any of them cannot be used.
    """
    check_tuner(config, tool)
    if tool == "nni":
        from tfcompress.tuning.nni.trial import import_nni

        import_nni()
    else:
        from tfcompress.tuning.keras_tuner.settings import import_keras_tuner

        import_keras_tuner()
    free_port(config.port)


def check_tuner(config: SearchFields, tool: Tool) -> str:
    """The tuner of a tool by a config; the tool's standard one where it names none.

    Raises:
        ConfigError: The tool does not have it.
    """
    if tool == "nni":
        from tfcompress.tuning.nni.experiment import TUNER_NAMES

        names, standard = TUNER_NAMES, "TPE"
    else:
        from tfcompress.tuning.keras_tuner.settings import TUNER_NAMES

        names, standard = TUNER_NAMES, "bayesian"
    if config.tuner and config.tuner not in names:
        raise ConfigError(
            "tuner", f"{tool} has no {config.tuner!r}", f"use one of {', '.join(names)}"
        )
    return config.tuner or standard


def _by_keras_tuner(run: Run, config: SearchFields, task: Task) -> SearchResult:
    from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
    from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch

    search = KerasTunerSearch(
        function=task.function,
        space=task.space,
        objective=task.objective,
        folder=run.path("search"),
        tuner=check_tuner(config, "keras-tuner"),
        trials=config.trials,
        epochs=task.epochs,
        seed=config.seed,
        stop_rule=None if config.early_stop == "no" else stop_rule(task, config.early_stop),
        trial_seconds=60 * config.trial_minutes,
        seconds=3600 * config.hours,
    )
    found = search_with_keras_tuner(
        search, workers=config.concurrency, port=config.port, resume=True, tell=run.print
    )
    if found is None:  # a worker of a search over machines
        raise SystemExit(0)
    return found


def _by_nni(run: Run, config: SearchFields, task: Task, kind: str) -> SearchResult:
    from tfcompress.tuning.nni.experiment import NNISearch, run_nni_experiment

    run.write_json(TRIAL_CONFIG, asdict(config))
    trial_config = str(run.path(TRIAL_CONFIG).resolve())
    search = NNISearch(
        command=[sys.executable, "-m", "experiments.nni.trial", kind, "--config", trial_config],
        space=task.space,
        objective=task.objective,
        folder=run.path("search"),
        code_directory=Path(__file__).resolve().parents[2],
        tuner=check_tuner(config, "nni"),
        **_assessor(config, task),
        trials=config.trials,
        epochs=task.epochs,
        concurrency=config.concurrency,
        seed=config.seed,
        trial_seconds=60 * config.trial_minutes,
        seconds=3600 * config.hours,
    )
    return run_nni_experiment(search, port=config.port, resume=True, tell=run.print)


def _assessor(config: SearchFields, task: Task) -> dict[str, Any]:
    """The stop rule as NNI takes it."""
    rule = None if config.early_stop == "no" else stop_rule(task, config.early_stop)
    if isinstance(rule, HalvingStop):
        return {"assessor": "Halving", "assessor_args": asdict(rule)}
    if isinstance(rule, MedianStop):
        return {"assessor": "Medianstop", "assessor_args": {"start_step": rule.start_epoch}}
    return {"assessor": None}


def stop_rule(task: Task, rule: str) -> StopRule:
    """The stop rule by its name: early enough to save epochs, late enough to judge a curve."""
    if rule == "halving":
        return HalvingStop(first_epoch=max(1, task.epochs // 8))
    return MedianStop(start_epoch=max(2, task.epochs // 4), least_trials=3)
