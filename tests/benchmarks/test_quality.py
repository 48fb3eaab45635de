"""The benchmark of quality reads the rows of the experiments' own metrics."""

from importlib import import_module

import numpy as np
import pytest

from benchmarks.quality import Config, forms, module_of, names, pairs, programs
from experiments.common.program import parse
from tfcompress.errors import ConfigError


def row(name, quality, milliseconds, size):
    latency = {"median_ms": milliseconds}
    return {
        "name": name, "quality": {"mean_iou": quality}, "latency": latency, "size_bytes": size,
    }  # fmt: skip


def test_a_form_is_measured_beside_the_first_row_of_its_own_run():
    seeds = [
        {"tfmot": [row("dense float32", 0.8, 10.0, 100), row("TFMOT float32", 0.75, 5.0, 25)]},
        {"tfmot": [row("dense float32", 0.9, 8.0, 100), row("TFMOT float32", 0.95, 2.0, 50)]},
    ]
    (form,) = forms(seeds, {"tfmot": {"TFMOT float32": "zeros"}}).values()
    np.testing.assert_allclose(form.qualities, [0.75, 0.95])
    np.testing.assert_allclose(form.losses, [-0.05, 0.05])
    np.testing.assert_allclose(form.speeds, [2.0, 4.0])
    np.testing.assert_allclose(form.shares, [0.25, 0.5])


def test_the_pairs_are_forms_of_the_experiments():
    listed = {title for rows in names(0.25).values() for title in rows.values()}
    assert len(listed) == 12
    assert {title for pair in pairs(0.25) for title in pair} < listed
    assert ("25% MACs", "25% MACs, from scratch") in pairs(0.25)
    assert ("80 % zeros by LevelPruner", "80 % zeros by TFMOT") in pairs(0.25)


def test_one_seed_has_no_interval():
    with pytest.raises(ConfigError, match="at least two"):
        Config(seeds=(0,)).check()


def test_every_experiment_gets_the_same_epochs_and_the_seed(tmp_path):
    benchmark = Config(root=str(tmp_path), epochs=9, dense_epochs=2, sparse_epoch=5, share=0.5)
    source = tmp_path / "unet-tfmot-prune" / "seed4"
    source.mkdir(parents=True)
    for name in ("dense", "pruned"):
        (source / f"{name}-seed4.keras").touch()
    for experiment, flags in programs(benchmark, 4).values():
        module = import_module(module_of(experiment))
        config = parse(module.Config, flags, {})
        assert (config.seeds, config.run, config.root) == ((4,), "seed4", str(tmp_path))
        assert (config.epochs, config.dense_epochs, config.sparse_epoch) == (9, 2, 5)
        assert (config.patch, config.stride, config.data) == (96, 80, "")
        assert config.filters == benchmark.filters
        if experiment == "unet-channel-prune":
            assert config.target_macs == (0.5,)
