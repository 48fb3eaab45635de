"""Results of searches: the best, tables, JSON and back, importance, pictures."""

import json

import numpy as np
import pytest

from tfcompress.tuning.importance import importance_table, importances
from tfcompress.tuning.plots import (
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_progress,
)
from tfcompress.tuning.results import (
    SearchError,
    SearchResult,
    TrialResult,
    read_trial,
    trial_outcome,
    write_trial,
)
from tfcompress.tuning.space import Choice, SearchSpace, Uniform
from tfcompress.tuning.trial import SearchObjective

SPACE = SearchSpace(
    {
        "strong": Uniform(0.0, 1.0),
        "idle": Uniform(0.0, 1.0),
        "kind": Choice(("a", "b", "c")),
        "only_b": Uniform(0.0, 1.0, when=("kind", ("b",))),
    }
)


def made(direction="max", trials=40):
    """Trials whose objective is the first dimension alone; every tenth fails."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(trials):
        params = SPACE.sample(rng)
        if number % 10 == 9:
            found.append(TrialResult(number, params, "failed", reason="it crashed"))
            continue
        value = params["strong"]
        rows = tuple({"epoch": e, "val_iou": value * e / 3} for e in (1, 2, 3))
        status = "stopped" if number % 7 == 6 else "finished"
        metrics = {"val_iou": value, "val_accuracy": 0.5}
        timing = {"started": 10.0 * number, "seconds": 9.0}
        found.append(TrialResult(number, params, status, value, metrics, rows, **timing))
    objective = SearchObjective("val_iou", direction, ("val_accuracy",))
    return SearchResult(SPACE, objective, tuple(found), "a tool", 12.0)


@pytest.mark.parametrize(("direction", "pick"), [("max", max), ("min", min)])
def test_the_best(direction, pick):
    result = made(direction)
    values = [trial.objective for trial in result.trials if trial.objective is not None]
    assert result.best.objective == pick(values)
    assert [trial.objective for trial in result.usable] == sorted(
        values, reverse=direction == "max"
    )
    assert result.epochs == 36 * 3


def test_importance_finds_what_matters():
    for direction, towards in (("max", 1.0), ("min", -1.0)):
        first, *others = importances(made(direction))
        assert first.name == "strong"
        assert first.share > 0.9
        assert first.towards == pytest.approx(towards)
        assert sum(item.share for item in others) < 0.1
    assert "larger (+1.00)" in str(importance_table(made()))


def test_importance_needs_trials():
    result = made(trials=5)
    assert importances(result) == ()
    assert "at least 6 trials" in str(importance_table(result))


def test_no_trial_worked():
    failed = (TrialResult(0, {}, "failed", reason="no data"),)
    result = SearchResult(SPACE, SearchObjective("val_iou"), failed, "a tool", 1.0)
    with pytest.raises(SearchError, match="none of its 1 trials gave a value: no data"):
        _ = result.best


def test_tables_and_json():
    result = made()
    lines = str(result.table()).splitlines()
    assert lines[0].strip() == "40 trials of a tool, val_iou"
    assert lines[4].split()[0] == str(result.best.number)
    assert "trial 9, 19, 29, 39 failed: it crashed" in lines[-1]
    assert "only_b" not in str(result.table(3, params=False))
    assert "0.5" in str(result.best_table())  # the default of "strong"
    content = json.loads(json.dumps(result.to_dict()))
    assert content["best"] == result.best.number
    assert len(content["trials"]) == 40


def test_a_trials_record_reads_back(tmp_path):
    trial = made().trials[3]
    write_trial(tmp_path, trial)
    assert read_trial(tmp_path) == trial
    assert read_trial(tmp_path / "none") is None


def test_the_best_epoch_counts():
    rows = [
        {"epoch": 1, "val_iou": 0.2},
        {"epoch": 2, "val_iou": 0.6},
        {"epoch": 3, "val_iou": 0.5},
    ]
    assert trial_outcome(SearchObjective("val_iou"), rows, {"val_iou": 0.5}) == {
        "objective": 0.6,
        "metrics": rows[1],
    }
    assert trial_outcome(SearchObjective("val_iou", "min"), rows, None)["objective"] == 0.2
    assert trial_outcome(SearchObjective("val_iou"), [], {"val_iou": 0.5})["objective"] == 0.5


def test_pictures_draw_every_trial():
    result = made()
    lines = plot_parallel_coordinates(result).axes[0].get_lines()
    curves = [line for line in lines if len(line.get_xdata()) == 5]
    assert len(curves) == 36
    thick = max(curves, key=lambda line: line.get_linewidth())
    assert thick.get_ydata()[-1] == pytest.approx(1.0)  # the best stands at the top
    best = [
        line for line in plot_progress(result).axes[0].get_lines() if line.get_label() == "best"
    ]
    assert list(best[0].get_ydata()) == list(
        np.maximum.accumulate([t.objective for t in result.trials if t.objective is not None])
    )
    assert len(plot_learning_curves(result).axes[0].get_lines()) == 36
