"""Old public names: each still works, and its warning gives the new name."""

import warnings

import pytest

import tfcompress
from tfcompress.evaluation.segmentation import jaccard
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch
from tfcompress.tuning.nni.experiment import RemoteMachine, run_nni_experiment
from tfcompress.tuning.trial import SearchObjective

RENAMED = {
    "Machine": RemoteMachine,
    "Objective": SearchObjective,
    "Search": KerasTunerSearch,
    "jacard_coef": jaccard,
    "run_experiment": run_nni_experiment,
}


@pytest.mark.parametrize("old", tfcompress._RENAMED)
def test_an_old_name_warns_with_the_new_one(old):
    new = tfcompress._RENAMED[old]
    with pytest.warns(DeprecationWarning, match=rf"tfcompress\.{old} is .* tfcompress\.{new};"):
        found = getattr(tfcompress, old)
    assert found is getattr(tfcompress, new)
    if old in RENAMED:
        assert found is RENAMED[old]
    assert old not in dir(tfcompress)
    assert old not in tfcompress.__all__


def test_the_renamed_names_are_aliases():
    assert tfcompress._RENAMED.keys() >= RENAMED.keys()


def test_the_warning_is_about_the_line_of_the_user():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _ = tfcompress.Objective
    assert [warning.filename for warning in caught] == [__file__]


def test_new_names_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for new in tfcompress._RENAMED.values():
            getattr(tfcompress, new)
