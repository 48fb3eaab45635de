"""keras-tuner's oracles, extended for long searches: early stopping, time limit, atomic state."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus

from tfcompress.atomic import write_text
from tfcompress.internals import keras_tuner as names
from tfcompress.reporting.run import to_json
from tfcompress.tuning.stopping import StopRule, gives_up
from tfcompress.tuning.trial import SearchObjective

if TYPE_CHECKING:
    from keras_tuner import Oracle
else:
    Oracle = object  # the mixin's base; a keras-tuner oracle follows in each subclass

NEVER = 10**9
"""Disables `max_consecutive_failed_trials`, whose RuntimeError would leave a lock held forever."""


def synchronized(method: Callable[..., Any]) -> Callable[..., Any]:
    """Hold keras-tuner's lock during an oracle's method, and release it even on an error."""

    @functools.wraps(method)
    def locked(oracle: Any, *args: Any, **kwargs: Any) -> Any:
        thread, holders = threading.current_thread().name, names.THREADS.get()
        if holders[oracle] == thread:
            return method(oracle, *args, **kwargs)
        with names.LOCKS.get()[oracle]:
            holders[oracle] = thread
            try:
                return method(oracle, *args, **kwargs)
            finally:
                holders[oracle] = None

    return locked


class _LongSearch(Oracle):
    """Mixin of all oracles. Workers in other processes access it through keras-tuner's server.

    Attributes:
        stop_rule: Rule that stops trials early; None stops none.
        closing: Reason why no further trials start; empty while the search continues.
        ends_at: Time (`time.monotonic()`) after which no trial starts; None for no limit.
    """

    stop_rule: StopRule | None = None
    closing: str = ""
    ends_at: float | None = None

    @synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Get the next trial; it has the status "STOPPED" when the search is over."""
        if not self.closing and self.ends_at is not None and time.monotonic() > self.ends_at:
            self.closing = "its time limit is reached"
        if self.closing:
            self.tuner_ids.discard(tuner_id)
            return KerasTunerTrial(self.get_space(), "", TrialStatus.STOPPED)
        return super().create_trial(tuner_id)

    @synchronized
    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        """Record an epoch; returns a copy of the trial with status "STOPPED" if it should stop."""
        trial = super().update_trial(trial_id, metrics, step=step)
        if self.stop_rule is None:
            return trial
        others = [self._curve(other) for other in self.trials.values() if other is not trial]
        curve = self._curve(trial)
        if not self.stop_rule.should_stop(curve, others, self.objective.direction):
            return trial
        return KerasTunerTrial(trial.hyperparameters, trial_id, TrialStatus.STOPPED)

    @synchronized
    def end_trial(self, trial: Any) -> None:
        """Record the end of a trial; three failures without a success end the search."""
        super().end_trial(trial)
        ended = [self.trials[trial_id].status for trial_id in self.end_order]
        self.closing = self.closing or gives_up([s == TrialStatus.FAILED for s in ended])

    def save(self) -> None:
        """Write the state atomically, so that a killed search can read it again."""
        write_text(names.ORACLE_FILE.of(self)(), to_json(self.get_state()))

    def _save_trial(self, trial: Any) -> None:
        path = f"{names.TRIAL_FOLDER.of(self)(trial.trial_id)}/trial.json"
        write_text(path, to_json(trial.get_state()))

    def reload(self) -> None:
        """Read the state; interrupted trials start again, without their old epochs.

        keras-tuner records the end of a trial before it removes the trial from the list of running
        ones. A search that was killed in between would train the trial twice, so the record in the
        trial's file decides.
        """
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):
            del self.trials[trial_id]  # killed between writing its record and the search's
        cut_off = []
        for trial_id in names.RETRY_QUEUE.of(self):
            trial = self.trials[trial_id]
            if trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED):
                if trial_id not in self.end_order:
                    self.end_order.append(trial_id)
            else:
                trial.metrics = type(trial.metrics)()
                cut_off.append(trial_id)
        names.RETRY_QUEUE.put(self, cut_off)

    def _curve(self, trial: Any) -> list[float]:
        name = self.objective.name
        if not trial.metrics.exists(name):
            return []
        return [observation.mean() for observation in trial.metrics.get_history(name)]


class RandomOracle(_LongSearch, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class BayesianOracle(_LongSearch, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization: a Gaussian process with the upper confidence bound."""


class HyperbandOracle(_LongSearch, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al. 2018): many trials of few epochs, of which the best continue."""


class GridOracle(_LongSearch, keras_tuner.oracles.GridSearchOracle):
    """Grid search: every combination, with ten values per range."""

    def reload(self) -> None:
        """Read the state; keras-tuner does not save which combinations have successors."""
        super().reload()
        values = {name: self.trials[name].hyperparameters.values for name in self.start_order}
        compare = names.COMPARE.of(self)
        by_values = functools.cmp_to_key(lambda a, b: compare(values[a], values[b]))
        ordered = type(names.ORDERED_IDS.of(self))()
        for trial_id in sorted(self.start_order, key=by_values):
            ordered.insert(trial_id)
        names.ORDERED_IDS.put(self, ordered)
        names.WITHOUT_SUCCESSOR.put(self, list(self.start_order))


def _plain(kind: type) -> Callable[..., Any]:
    def make(trials: int, epochs: int | None, **common: Any) -> Any:
        return kind(max_trials=trials, **common)

    return make


def _hyperband(trials: int, epochs: int | None, **common: Any) -> Any:
    oracle = HyperbandOracle(max_epochs=epochs, factor=3, hyperband_iterations=NEVER, **common)
    oracle.max_trials = trials
    return oracle


TUNERS: dict[str, Callable[..., Any]] = {
    "random": _plain(RandomOracle),
    "bayesian": _plain(BayesianOracle),
    "hyperband": _hyperband,
    "grid": _plain(GridOracle),
}
"""Tuners by name: functions (trials, epochs, further arguments of oracles) -> oracle."""


def hyperband_first_round(epochs: int) -> int:
    """Number of trials in Hyperband's first round, after which the best trials continue."""
    oracle = HyperbandOracle(objective=keras_tuner.Objective("x", "max"), max_epochs=epochs)
    return names.BRACKET_SIZE.of(oracle)(names.BRACKET.of(oracle), 0)


def make_oracle(
    tuner: str,
    space: Any,
    objective: SearchObjective,
    trials: int,
    epochs: int | None,
    seed: int,
    stop_rule: StopRule | None,
) -> Any:
    """Make an oracle of `TUNERS`.

    Args:
        tuner: Name of the tuner.
        space: Search space as `keras_tuner.HyperParameters`.
        objective: Objective of the search.
        trials: Maximum number of trials.
        epochs: Number of epochs of Hyperband's longest trials; other tuners ignore it.
        seed: Seed of the tuner.
        stop_rule: Rule that stops trials early; Hyperband ignores it.
    """
    oracle = TUNERS[tuner](
        trials,
        epochs,
        objective=keras_tuner.Objective(objective.metric, objective.direction),
        hyperparameters=space,
        allow_new_entries=False,
        tune_new_entries=False,
        seed=seed + 1,  # keras-tuner treats 0 as no seed
        max_consecutive_failed_trials=NEVER,
    )
    oracle.stop_rule = stop_rule if tuner != "hyperband" else None
    oracle.verbose = 0
    return oracle
