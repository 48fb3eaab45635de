"""What NNI's dispatcher runs of ours: its tuners, mended, and an assessor.

Hyperband can be seeded, Random and TPE do not begin anew on a resume, and successive halving stops
trials early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from nni.algorithms.hpo.hyperband_advisor import Hyperband
from nni.algorithms.hpo.random_tuner import RandomTuner
from nni.algorithms.hpo.tpe_tuner import TpeTuner
from nni.assessor import Assessor, AssessResult
from nni.utils import extract_scalar_history

from tfcompress.tuning.stopping import HalvingStop

if TYPE_CHECKING:
    from nni.tuner import Tuner
else:
    Tuner = object  # what is mixed in; NNI's class stands behind it


class PatchedHyperband(Hyperband):
    """Hyperband (Li et al. 2018); the epochs of a trial come as the parameter `TRIAL_BUDGET`.

    It cannot be resumed: NNI writes none of its brackets.

    Args:
        seed: Of the parameters.
        **kwargs: Of NNI's Hyperband.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seed = seed

    def handle_update_search_space(self, data: Any) -> None:
        """Take the search space, and a random state that NNI would not seed."""
        super().handle_update_search_space(data)
        self.random_state = np.random.RandomState(self._seed)

    def is_created_in_previous_exp(self, parameter_id: Any) -> bool:
        """Never: and NNI's comparison of these ids with a number fails (microsoft/nni 5263)."""
        return False


class _NewDraws(Tuner):
    """A tuner of NNI's whose random draws are new after a resume; NNI's begin anew.

    Args:
        seed: Of the parameters.
        **kwargs: Of NNI's tuner.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self._seed = seed

    def import_data(self, data: list[Any]) -> None:
        """On a resume, the trials that had finished."""
        super().import_data(data)
        self.rng = np.random.default_rng([self._seed, len(data)])


class PatchedRandom(_NewDraws, RandomTuner):
    """Random search."""


class PatchedTPE(_NewDraws, TpeTuner):
    """TPE (Bergstra et al. 2011)."""


class HalvingAssessor(Assessor):
    """`HalvingStop` for NNI. After a resume it knows the trials from then on only, as NNI's do.

    Args:
        optimize_mode: Of the objective.
        **kwargs: Of `HalvingStop`.
    """

    def __init__(
        self, optimize_mode: Literal["maximize", "minimize"] = "maximize", **kwargs: int
    ) -> None:
        self._direction: Literal["max", "min"] = "max" if optimize_mode == "maximize" else "min"
        self._rule = HalvingStop(**kwargs)
        self._curves: dict[str, list[float]] = {}

    def assess_trial(self, trial_job_id: str, trial_history: list[Any]) -> AssessResult:
        """Good: the trial goes on; bad: NNI stops it."""
        curve = extract_scalar_history(trial_history)
        self._curves[trial_job_id] = curve
        others = [other for name, other in self._curves.items() if name != trial_job_id]
        stops = self._rule.should_stop(curve, others, self._direction)
        return AssessResult.Bad if stops else AssessResult.Good
