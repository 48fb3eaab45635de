"""Multi-trial search: every score belongs to its architecture, kills, stops, and failures."""

import json
import os

import pytest

from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.nas.multitrial import search_multitrial
from bridges.yolov5.nas.proxies import ClassificationProxy, digits_proxy
from bridges.yolov5.nas.proxy_trial import ProxyTrial
from bridges.yolov5.nas.trials import SAMPLERS, MultiTrialSettings, cost_objective, run_trial
from models.yolov5.architecture_file import parse_architecture
from models.yolov5.search_space import frozen_pick, list_choices
from tests.bridges.yolov5.nas.digits import OPTIONS, Digits, Fatal
from tfcompress import MedianStop
from tfcompress.errors import CompressionError, ConfigError

TINY_SPACE = parse_architecture(
    "backbone: [[-1, 1, Conv, [8, 3, 2]], [-1, 1, NASBlock, [16, 2]]]", "the test", "tiny"
)


def number_of(choices):
    return float("".join(choices[label] for label in OPTIONS))


@pytest.mark.parametrize(
    ("sampler", "concurrency"),
    [
        *((sampler, 1) for sampler in SAMPLERS),
        *(pytest.param(sampler, 2, marks=pytest.mark.slow) for sampler in SAMPLERS),
    ],
)
def test_every_score_belongs_to_its_architecture(sampler, concurrency, tmp_path):
    settings = MultiTrialSettings(sampler, trials=8, concurrency=concurrency, stop=None)
    seen = []
    result = search_multitrial(OPTIONS, Digits(slow=True), settings, tmp_path, seen.append)
    assert [trial.number for trial in result.trials] == list(range(8))
    assert len(seen) == 8
    for trial in result.trials:
        assert trial.scores["score"] == number_of(trial.choices)
        assert {type(text) for item in trial.choices.items() for text in item} == {str}
        written = json.loads((tmp_path / f"trial-{trial.number:04d}.json").read_text())
        assert written["scores"]["score"] == number_of(written["choices"])
    processes = {trial.scores["process"] for trial in result.trials}
    assert (os.getpid() in processes) == (concurrency == 1)
    assert result.best.scores["score"] == max(t.scores["score"] for t in result.trials)


@pytest.mark.parametrize("sampler", ["evolution", "tpe"])
def test_samplers_that_learn_beat_the_first_trials(sampler, tmp_path):
    settings = MultiTrialSettings(sampler, trials=30, population=8, mutation=0.3, stop=None)
    trials = search_multitrial(OPTIONS, Digits(), settings, tmp_path).trials
    first, last = ([t.scores["score"] for t in part] for part in (trials[:10], trials[-10:]))
    assert sum(last) > sum(first)


def test_grid_goes_through_the_space_and_random_draws_nothing_twice(tmp_path):
    small = {"a": ("0", "1"), "b": ("0",), "c": ("1",), "d": ("0", "1")}
    for sampler in ("grid", "random"):
        settings = MultiTrialSettings(sampler, trials=4, stop=None)
        trials = search_multitrial(small, Digits(), settings, tmp_path / sampler).trials
        assert len({tuple(trial.choices.items()) for trial in trials}) == 4


def test_a_search_is_reproduced_from_its_seed(tmp_path):
    for sampler in SAMPLERS:
        runs = [
            search_multitrial(
                OPTIONS, Digits(), MultiTrialSettings(sampler, trials=8, seed=3), tmp_path / name
            )
            for name in (f"{sampler}-a", f"{sampler}-b")
        ]
        first, again = ([trial.choices for trial in run.trials] for run in runs)
        assert first == again


@pytest.mark.parametrize("sampler", ["evolution", "tpe", "nsga2"])
def test_a_search_may_begin_with_an_architecture(sampler, tmp_path):
    start = {"a": "2", "b": "0", "c": "1", "d": "1"}
    settings = MultiTrialSettings(
        sampler, trials=12, stop=None, start=start, mutation=0.3, population=8
    )
    trials = search_multitrial(OPTIONS, Digits(), settings, tmp_path).trials
    assert trials[0].choices == start
    assert len(trials) == 12
    if sampler == "evolution":  # eight draws that keep a choice with 0.7 and more each
        first = [trial.choices for trial in trials[1:8]]
        kept = sum(choices[label] == start[label] for choices in first for label in start)
        assert kept / 28 > 0.6, "drawn evenly it would be 0.375"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_search_ends_as_if_it_had_not_been(sampler, tmp_path):
    settings = MultiTrialSettings(sampler, trials=9, stop=None)
    whole = search_multitrial(OPTIONS, Digits(), settings, tmp_path / "whole")

    def kill(record):
        if record.number == 4:
            raise Killed

    with pytest.raises(Killed):
        search_multitrial(OPTIONS, Digits(), settings, tmp_path / "killed", kill)
    new = []
    resumed = search_multitrial(OPTIONS, Digits(), settings, tmp_path / "killed", new.append)
    assert [record.number for record in new] == [5, 6, 7, 8]
    assert [t.choices for t in resumed.trials] == [t.choices for t in whole.trials]


def test_trials_of_another_search_are_not_mixed_in(tmp_path):
    search_multitrial(OPTIONS, Digits(), MultiTrialSettings("random", trials=3), tmp_path)
    other = MultiTrialSettings("random", trials=3, seed=1)
    with pytest.raises(CompressionError, match="it is of another search"):
        search_multitrial(OPTIONS, Digits(), other, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "evolution"])
def test_a_killed_parallel_search_trains_no_architecture_twice(sampler, tmp_path):
    settings = MultiTrialSettings(sampler, trials=8, concurrency=2, stop=None)

    def kill(record):
        if len(list(tmp_path.glob("trial-*.json"))) == 4:
            raise Killed

    with pytest.raises(Killed):
        search_multitrial(OPTIONS, Digits(slow=True), settings, tmp_path, kill)
    before = {file.name: file.read_text() for file in tmp_path.glob("trial-*.json")}
    result = search_multitrial(OPTIONS, Digits(slow=True), settings, tmp_path)
    for name, text in before.items():
        assert (tmp_path / name).read_text() == text
    assert len({trial.number for trial in result.trials}) == len(result.trials) == 8
    for trial in result.trials:
        assert trial.scores["score"] == number_of(trial.choices)


def test_failures_are_records_and_the_search_goes_on(tmp_path):
    settings = MultiTrialSettings("random", trials=12)
    trials = search_multitrial(OPTIONS, Digits(fails_at={"a": "1"}), settings, tmp_path).trials
    assert {t.state for t in trials if t.choices["a"] == "1"} == {"failed"}
    assert {t.state for t in trials if t.choices["a"] != "1"} <= {"finished", "pruned"}
    failed = next(t for t in trials if t.state == "failed")
    assert "this architecture cannot be trained" in failed.error
    with pytest.raises(
        CompressionError, match=r"none of 2 trials finished \(the last: .*cannot be"
    ):
        never = Digits(fails_at={"d": "0"})
        one = {**OPTIONS, "d": ("0",)}
        search_multitrial(one, never, MultiTrialSettings("random", trials=2), tmp_path / "n")


def test_a_process_that_dies_is_one_failed_trial(tmp_path):
    options = {"a": ("0", "1", "2"), "b": ("0",), "c": ("0",), "d": ("0",)}
    settings = MultiTrialSettings("grid", trials=3, concurrency=3, stop=None)
    trials = search_multitrial(options, Fatal(), settings, tmp_path).trials
    assert [t.state for t in trials] == ["finished", "failed", "finished"]
    log = tmp_path / "trial-0001.log"
    assert trials[1].error == f"its process ended by SIGKILL; see {log}"
    assert log.read_text() == "almost done\n"


def test_a_trial_below_the_median_is_stopped():
    """Its best so far against the median of the others' means: 0.3 after one, 0.45 after two."""
    others = [[0.2, 0.5], [0.3, 0.6], [0.4, 0.7]]

    def rising(choices, report):
        report(0.35)
        report(0.44)
        return {"score": 0.9}

    stop = MedianStop(start_epoch=1, least_trials=3)
    record = run_trial(rising, 0, {}, stop, others)
    assert (record.state, record.curve, record.scores) == ("pruned", (0.35, 0.44), {"score": 0.44})
    assert run_trial(rising, 0, {}, None, others).state == "finished"
    assert run_trial(rising, 0, {}, stop, others[:2]).state == "finished"


def test_the_front_of_two_objectives(tmp_path):
    settings = MultiTrialSettings("nsga2", trials=12, population=4, stop=None)
    result = search_multitrial(OPTIONS, Digits(), settings, tmp_path)
    # here a higher score always has fewer MACs: one trial beats all others
    assert {t.scores["score"] for t in result.front("macs")} == {result.best.scores["score"]}
    assert len(result.table().rows) == 12


def test_architectures_are_scored_on_a_proxy(tmp_path):
    """A real training of each, on digits, in two processes."""
    digits = digits_proxy(16)
    proxy = ClassificationProxy(digits.images[:400], digits.labels[:400], 10, batch=20)
    trial = ProxyTrial(TINY_SPACE, proxy, epochs=3, weight=0.0, threads=1)
    settings = MultiTrialSettings("random", trials=3, concurrency=2, stop=None)
    result = search_multitrial(list_choices(TINY_SPACE), trial, settings, tmp_path)
    assert len(result.finished) == 3
    for record in result.finished:
        assert len(record.curve) == 3
        assert record.scores["score"] == record.scores["reward"] == record.curve[-1]
        network = proxy.builder(TINY_SPACE)(frozen_pick(record.choices))
        assert record.scores["macs"] == count_torch_cost(network, (3, 16, 16)).macs
    assert result.best.scores["reward"] > 0.2  # ten digits; one in ten by chance


def test_dearer_is_never_better():
    assert cost_objective(0.5, 20, 10, 0.1) == pytest.approx(0.4)
    assert cost_objective(0.5, 10, 10, 0.1) == 0.5
    assert cost_objective(0.5, 5, 10, 0.1) == pytest.approx(0.55)
    assert cost_objective(0.5, 5, 10, 0.1, budget=0.8) == pytest.approx(0.52)
    assert cost_objective(0.5, 9, 10, 0.1, budget=0.8) == pytest.approx(0.51)


def test_bad_settings():
    with pytest.raises(ConfigError, match="'annealing' is unknown. Fix: use random"):
        MultiTrialSettings("annealing")
    with pytest.raises(ConfigError, match="trials: it is 0"):
        MultiTrialSettings(trials=0)
