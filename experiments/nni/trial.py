"""A trial of an NNI experiment: `python -m experiments.nni.trial unet|trash [--any field]`.

The same fields as `unet-hpo-nni` and `trash-hpo`. Outside an experiment it trains once with the
default parameters. The data set, where DATA names none, is generated once beside the trials.
"""

import fcntl
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.common.program import run_experiment
from experiments.search.tasks import TrashSearch, UnetSearch, trash_task, unet_task
from experiments.trash.classification import CLASSIFIER_SMOKE
from experiments.unet.segmentation import SMOKE, load_data
from tfcompress.data.synthetic import AerialSpec, write_aerial_scenes
from tfcompress.data.trash import write_trash
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import open_run
from tfcompress.tuning.nni.trial import run_nni_trial

KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "unet": (UnetSearch, {**SMOKE, "epochs": 3, "tune_epochs": 2}),
    "trash": (TrashSearch, CLASSIFIER_SMOKE),
}


def main(config: UnetSearch | TrashSearch) -> None:
    """Train with the parameters that NNI gives."""
    config = replace(config, data=str(_data(config)))
    if isinstance(config, UnetSearch):
        if config.what == "pruning" and not config.dense:
            raise ConfigError("dense", "a trial prunes a trained U-Net", "give its .keras file")
        folder = os.environ.get("NNI_OUTPUT_DIR") or f"{config.root}/nni-standalone"
        look = open_run(folder, "data", "look", {}, resume=True)  # for the names of the classes
        task = unet_task(config, load_data(config, look))
        look.close()
    else:
        task = trash_task(config)
    run_nni_trial(task.function, task.space, task.objective, config.seed)


def _data(config: UnetSearch | TrashSearch) -> Path:
    """The data set's folder; without one the first trial generates it."""
    if config.data or (isinstance(config, TrashSearch) and config.source != "folder"):
        return Path(config.data) if config.data else Path()
    folder = Path(config.root) / "nni-generated"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if isinstance(config, UnetSearch):
            spec = AerialSpec(config.tiles, config.images_per_tile, config.scene_size)
            wanted = folder / f"tiles-{config.tiles}-{config.images_per_tile}-{config.scene_size}"
            if not wanted.is_dir():
                write_aerial_scenes(wanted, spec)
        else:
            wanted = folder / f"trash-{config.images}"
            if not wanted.is_dir():
                write_trash(wanted, config.images)
    return wanted.resolve()


def run(argv: Sequence[str]) -> None:
    """Take the kind from the arguments, the config from the rest."""
    if not argv or argv[0] not in KINDS:
        print(f"usage: python -m experiments.nni.trial {'|'.join(KINDS)} [fields]", file=sys.stderr)
        raise SystemExit(2)
    kind, smoke = KINDS[argv[0]]
    run_experiment(kind, main, smoke, argv[1:])


if __name__ == "__main__":
    run(sys.argv[1:])
