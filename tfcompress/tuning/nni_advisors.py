"""NNI's tuners, mended: Hyperband can be seeded, Random and TPE do not begin anew on a resume."""

from __future__ import annotations

from typing import Any

import numpy as np
from nni.algorithms.hpo.hyperband_advisor import Hyperband
from nni.algorithms.hpo.random_tuner import RandomTuner
from nni.algorithms.hpo.tpe_tuner import TpeTuner


class MendedHyperband(Hyperband):
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


class _NewDraws:
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


class MendedRandom(_NewDraws, RandomTuner):
    """Random search."""


class MendedTPE(_NewDraws, TpeTuner):
    """TPE (Bergstra et al. 2011)."""
