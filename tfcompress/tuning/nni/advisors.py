"""Patched tuners and an assessor that run in NNI's dispatcher.

Hyperband takes a seed, Random and TPE do not repeat their draws after a resume, and the assessor
stops trials early by successive halving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from nni.assessor import Assessor, AssessResult
from nni.utils import extract_scalar_history

from tfcompress.internals.nni import HYPERBAND, RANDOM_TUNER, TPE_TUNER
from tfcompress.tuning.stopping import HalvingStop

if TYPE_CHECKING:
    from nni.tuner import Tuner
else:
    Tuner = object  # the mixin's base; NNI's class follows in each subclass


Hyperband: Any = HYPERBAND.get()
RandomTuner: Any = RANDOM_TUNER.get()
TpeTuner: Any = TPE_TUNER.get()


class PatchedHyperband(Hyperband):
    """Hyperband (Li et al. 2018) with a seed.

    The number of epochs of a trial is its parameter `TRIAL_BUDGET`. The search cannot be resumed,
    because NNI does not save its brackets.

    Args:
        seed: Seed of the parameters that it draws.
        **kwargs: Arguments of NNI's Hyperband.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seed = seed

    def handle_update_search_space(self, data: Any) -> None:
        """Set the search space and a seeded random state, which NNI lacks."""
        super().handle_update_search_space(data)
        self.random_state = np.random.RandomState(self._seed)

    def is_created_in_previous_exp(self, parameter_id: Any) -> bool:
        """Always False; NNI would compare the id with a number and fail (microsoft/nni 5263)."""
        return False


class _NewDraws(Tuner):
    """Mixin that makes an NNI tuner draw new parameters after a resume; NNI repeats old draws.

    Args:
        seed: Seed of the parameters that it draws.
        **kwargs: Arguments of NNI's tuner.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self._seed = seed

    def import_data(self, data: list[Any]) -> None:
        """Take the finished trials after a resume, and reseed by their number."""
        super().import_data(data)
        self.rng = np.random.default_rng([self._seed, len(data)])


class PatchedRandom(_NewDraws, RandomTuner):
    """Random search that draws new parameters after a resume."""


class PatchedTPE(_NewDraws, TpeTuner):
    """TPE (Bergstra et al. 2011) that draws new parameters after a resume."""


class HalvingAssessor(Assessor):
    """`HalvingStop` as an NNI assessor. After a resume it ignores earlier trials, as NNI's do.

    Args:
        optimize_mode: Whether the objective is maximized or minimized.
        **kwargs: Arguments of `HalvingStop`.
    """

    def __init__(
        self, optimize_mode: Literal["maximize", "minimize"] = "maximize", **kwargs: int
    ) -> None:
        self._direction: Literal["max", "min"] = "max" if optimize_mode == "maximize" else "min"
        self._rule = HalvingStop(**kwargs)
        self._curves: dict[str, list[float]] = {}

    def assess_trial(self, trial_job_id: str, trial_history: list[Any]) -> AssessResult:
        """Judge a trial: Good lets it continue, Bad makes NNI stop it."""
        curve = extract_scalar_history(trial_history)
        self._curves[trial_job_id] = curve
        others = [other for name, other in self._curves.items() if name != trial_job_id]
        stops = self._rule.should_stop(curve, others, self._direction)
        return AssessResult.Bad if stops else AssessResult.Good
