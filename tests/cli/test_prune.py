"""`tfcompress prune`: fewer channels, or zeros; the file that it reads stays as it is."""

import dataclasses

import keras

from tfcompress.cli.prune import Prune
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.pruning.channels.core.options import ChannelOptions
from tfcompress.pruning.channels.core.scores import OTHER_SCORES, WEIGHT_SCORES


def test_prune_channels(folder, run, tmp_path):
    before = (folder / "model.keras").read_bytes()
    out = tmp_path / "small.keras"
    shown = run("prune", folder / "model.keras", out, "--target-macs", "0.5")
    whole, small = (keras.saving.load_model(path) for path in (folder / "model.keras", out))
    assert 0.4 < count_cost(small).macs / count_cost(whole).macs <= 0.51
    assert (folder / "model.keras").read_bytes() == before
    assert str(out) in shown.replace("\n", "")


def test_prune_weights(folder, run, tmp_path):
    out = tmp_path / "sparse.keras"
    run("prune", folder / "model.keras", out, "--sparsity", "0.75", "--exclude", "classes")
    zeros = total_zeros(keras.saving.load_model(out))
    # of 3*16*9 + 16*32*9 + 32*4 weights three quarters of the first two kernels
    assert zeros.zeros == 0.75 * (432 + 4608)
    shown = run("inspect", out)
    assert shown.count("75.0%") >= 2


def test_the_help_lists_the_scores_that_need_no_data(help_of):
    *most, last = (f'"{name}"' for name in [*WEIGHT_SCORES, *OTHER_SCORES])
    assert f"Which channels matter: {', '.join(most)} or {last}." in help_of("prune")


def test_the_defaults_are_those_of_channel_pruning():
    """They are written out in the command, which loads nothing of the library for its help."""
    theirs = {field.name: field.default for field in dataclasses.fields(ChannelOptions)}
    for field in dataclasses.fields(Prune):
        if field.name in ("score", "min_kept", "round_to"):
            assert field.default == theirs[field.name], field.name
