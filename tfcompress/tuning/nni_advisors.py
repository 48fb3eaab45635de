"""NNI's Hyperband, with the comparison mended that fails on 3.0's text ids (microsoft/nni 5263)."""

from __future__ import annotations

from typing import Any

from nni.algorithms.hpo.hyperband_advisor import Hyperband


class MendedHyperband(Hyperband):
    """Hyperband (Li et al. 2018); the epochs of a trial come as the parameter `TRIAL_BUDGET`."""

    def is_created_in_previous_exp(self, parameter_id: Any) -> bool:
        """Whether a parameter is of the experiment that was resumed: never, ids are kept."""
        return False
