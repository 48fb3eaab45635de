"""Where the next architecture comes from: NNI's strategies on an engine of ours, or Optuna.

NNI's own engine for parallel trials hands parameters to whichever trial asks first; on ours an
architecture and its score never part.
"""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import nni.nas.strategy as nni_strategy
    from nni.nas.evaluator import FunctionalEvaluator
    from nni.nas.execution import ExecutionEngine
    from nni.nas.execution.event import FinalMetricEvent, TrainingEndEvent
    from nni.nas.nn.pytorch import LayerChoice, ModelSpace
    from nni.nas.space import ExecutableModelSpace, ModelStatus, RawFormatModelSpace

from bridges.yolov5.nas.trials import FINISHED, MultiTrialSettings, TrialRecord, TrialRunner
from tfcompress.internals import nni as nni_names

Options = Mapping[str, tuple[str, ...]]


def run_nni(options: Options, runner: TrialRunner, settings: MultiTrialSettings) -> None:
    """Random, grid or regularised evolution (Real et al., 2018, arXiv:1802.01548)."""
    logging.getLogger("nni").setLevel(logging.ERROR)
    if settings.sampler == "random":
        strategy = nni_strategy.Random(seed=settings.seed)
    elif settings.sampler == "grid":
        strategy = nni_strategy.GridSearch(shuffle=False, seed=settings.seed)
    else:
        strategy = Evolution(
            settings.start,
            population_size=settings.population,
            sample_size=max(settings.population // 2, 1),
            mutation_prob=settings.mutation,
            seed=settings.seed,
        )
    engine = RunnerEngine(runner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space = RawFormatModelSpace(LabelSpace(options), FunctionalEvaluator(_never))
        strategy(space, engine)
    engine.wait_models()


class Evolution(nni_strategy.RegularizedEvolution):
    """NNI's, whose first population may be an architecture and mutations of it.

    Args:
        start: The architecture; None: a population drawn evenly, as NNI's.
        **more: NNI's own.
    """

    def __init__(self, start: Mapping[str, str] | None, **more: Any) -> None:
        super().__init__(**more)
        self.start = start

    def random(self) -> ExecutableModelSpace:
        """One of the first population."""
        if self.start is None:
            return super().random()
        first = dict(self.start)
        count = nni_names.COUNTER.of(self)
        if count == 0:
            nni_names.SEEN.of(self).dedup(first)
            nni_names.COUNTER.put(self, count + 1)
            return self.model_space.freeze(first)
        population = nni_names.POPULATION.of(self)
        nni_names.POPULATION.put(self, deque([nni_names.INDIVIDUAL.get()(first, 0.0)]))
        try:
            return self.new_individual()  # a mutation of the only one there is
        finally:
            nni_names.POPULATION.put(self, population)


class LabelSpace(ModelSpace):
    """Choices by name alone; what they stand for is built when a trial runs."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.choices = nn.ModuleList(
            LayerChoice({name: nn.Identity() for name in names}, label=label)
            for label, names in options.items()
        )


class RunnerEngine(ExecutionEngine):
    """Runs the architectures that a strategy of NNI submits."""

    def __init__(self, runner: TrialRunner) -> None:
        super().__init__()
        self.runner = runner
        self.models: list[ExecutableModelSpace] = []

    def submit_models(self, *models: ExecutableModelSpace) -> None:
        """Start each; its score goes to this very object."""
        for model in models:
            self.models.append(model)
            model.status = ModelStatus.Training

            def done(record: TrialRecord, model: ExecutableModelSpace = model) -> None:
                ended = ModelStatus.Trained if record.state == FINISHED else ModelStatus.Failed
                if "score" in record.scores:
                    self.dispatch_model_event(FinalMetricEvent(model, record.scores["score"]))
                self.dispatch_model_event(TrainingEndEvent(model, ended))

            # Names in NNI are of a type of its own, which has no place in a file.
            choices = {str(label): str(option) for label, option in model.sample.items()}
            self.runner.start(choices, done)

    def list_models(self, status: ModelStatus | None = None) -> Iterable[ExecutableModelSpace]:
        """All that were submitted."""
        return [model for model in self.models if status is None or model.status == status]

    def idle_worker_available(self) -> bool:
        """Whether one may start; waits for a running one where there is no room."""
        if self.runner.left and not self.runner.room:
            self.runner.wait()
        return self.runner.room

    def budget_available(self) -> bool:
        """Whether trials are left."""
        return self.runner.left

    def wait_models(self, *models: ExecutableModelSpace) -> None:
        """Until all have ended."""
        self.runner.wait(for_all=True)


def run_optuna(options: Options, runner: TrialRunner, settings: MultiTrialSettings) -> None:
    """TPE on the score (Bergstra et al., 2011), or NSGA-II on the score and a cost (Deb, 2002)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    two = settings.sampler == "nsga2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = (
            optuna.samplers.NSGAIISampler(seed=settings.seed, population_size=settings.population)
            if two
            else optuna.samplers.TPESampler(
                seed=settings.seed, n_startup_trials=settings.population, constant_liar=True
            )
        )
    directions = ["maximize", "minimize"] if two else ["maximize"]
    study = optuna.create_study(sampler=sampler, directions=directions)
    if settings.start is not None:
        study.enqueue_trial(dict(settings.start))
    while runner.left:
        if not runner.room:
            runner.wait()
            continue
        trial = study.ask()
        choices = {
            label: trial.suggest_categorical(label, names) for label, names in options.items()
        }

        def done(record: TrialRecord, trial: optuna.Trial = trial) -> None:
            keys = ("score", settings.second) if two else ("score",)
            if record.state != FINISHED or not all(key in record.scores for key in keys):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, [record.scores[key] for key in keys])

        runner.start(choices, done)
    runner.wait(for_all=True)


def _never(model: Any) -> None:
    """NNI wants an evaluator; the engine never calls it."""
    raise AssertionError("the engine runs the trials")
