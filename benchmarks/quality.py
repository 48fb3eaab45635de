"""make bench-quality: mean IoU of each form of a trained U-Net, beside the peer's way, over seeds.

For each seed the experiments run, as a user runs them, on one data set for the same number of
epochs: pruned channels beside random channels and beside the same widths trained from scratch;
LevelPruner beside TFMOT; 2:4 zeros; int8 after training beside int8 in training. The numbers are of
the LiteRT files on test images, each beside the dense U-Net of its own run, with which it was timed
in turn. Runs that are finished are not repeated.

Not part of `make bench`: three seeds take more than an hour on two cores.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.record import show
from experiments.common.program import run_experiment
from tfcompress.errors import ConfigError
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    data: str = ""
    """Data set folder; empty: generated tiles."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings; at least two."""
    patch: int = 96
    """Width and height of the images, in pixels."""
    stride: int | None = 80
    """Distance between patches, in pixels."""
    batch: int = 4
    """Batch size."""
    epochs: int = 23
    """Number of training epochs."""
    dense_epochs: int = 6
    """Epoch at which the pruned U-Nets branch off."""
    sparse_epoch: int = 14
    """Epoch at which the target sparsity is reached."""
    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Channels of each level of the U-Net."""
    share: float = 0.25
    """Share of the MACs that channel pruning keeps."""
    root: str = "runs/bench-quality"
    """Folder of the runs."""
    record: bool = False
    """Write benchmarks/records/quality.json."""

    def check(self) -> None:
        """Check what the intervals need."""
        if len(self.seeds) < 2:
            raise ConfigError("seeds", f"there is {len(self.seeds)}", "give at least two")


_COMMON = (
    "data", "patch", "stride", "batch", "epochs", "dense_epochs", "sparse_epoch", "filters", "root",
)  # fmt: skip
"""Fields that are passed to the experiments."""


@dataclass(frozen=True)
class Form:
    """One file of each seed beside the dense one of its run.

    Attributes:
        qualities: Mean IoU of each seed.
        losses: Mean IoU of each seed minus that of its dense U-Net.
        speeds: Latency of the dense U-Net over that of the form, for each seed.
        shares: Size of the form's file over that of the dense file, for each seed.
    """

    qualities: np.ndarray
    losses: np.ndarray
    speeds: np.ndarray
    shares: np.ndarray


def main(config: Config) -> tuple[Table, ...]:
    """Run the experiments that are missing and print both tables."""
    start = Start.now()
    rows = [rows_of(config, seed) for seed in config.seeds]
    found = forms(rows, names(config.share))
    data = config.data or "generated tiles"
    about = f"{data}, {config.epochs} epochs, seeds {', '.join(map(str, config.seeds))}"
    interval = "intervals: 95 %, Student's t over seeds"
    costs = Table(
        ("form", "mean IoU", "− dense float32", "95 %", "file", "speed"),
        title="Forms of a trained U-Net",
    )
    for name, form in found.items():
        costs.add(
            name,
            f"{form.qualities.mean():.4f}",
            f"{form.losses.mean():+.4f}",
            _interval(form.losses),
            f"1/{1 / form.shares.mean():.1f}",
            f"{np.median(form.speeds):.2f}x",
        )
    costs.note(f"{about}; {interval}")
    runtime = rows[0]["channels"][0]["latency"]["runtime"]
    costs.note(f"speed, file: beside the dense float32 one of the same run; {runtime}, one thread")
    beside = Table(
        ("ours − the other", *(f"seed {seed}" for seed in config.seeds), "mean", "95 %"),
        title="Mean IoU beside the other way",
    )
    for ours, other in pairs(config.share):
        gains = found[ours].losses - found[other].losses
        cells = [f"{gain:+.4f}" for gain in gains]
        beside.add(f"{ours} − {other}", *cells, f"{gains.mean():+.4f}", _interval(gains))
    beside.note(f"{about}; {interval}")
    beside.note("int8 in training starts from the trained float U-Net and takes four epochs more")
    return show(start, "quality", config, costs, beside)


def names(share: float) -> dict[str, dict[str, str]]:
    """Titles of the rows of each experiment."""
    small = f"{share:.0%} MACs"
    return {
        "channels": {
            f"{small} float32": small,
            f"{small}, from scratch float32": f"{small}, from scratch",
            f"{small}, random channels float32": f"{small}, random channels",
            f"{small} int8": f"{small}, int8",
        },
        "tfmot": {
            "LevelPruner float32": "80 % zeros by LevelPruner",
            "TFMOT float32": "80 % zeros by TFMOT",
        },
        "qat": {
            "dense int8 (PTQ)": "dense, int8 after training",
            "dense int8 (QAT)": "dense, int8 in training",
            "80% zeros int8 (PTQ)": "80 % zeros, int8 after training",
            "80% zeros int8 (PQAT)": "80 % zeros, int8 in training",
        },
        "2:4": {"pruned float32": "2:4 zeros", "pruned int8": "2:4 zeros, int8"},
    }


def pairs(share: float) -> tuple[tuple[str, str], ...]:
    """Pairs of forms to compare, ours first."""
    small, scratch, random, _ = names(share)["channels"].values()
    level, tfmot = names(share)["tfmot"].values()
    after, trained, sparse_after, sparse_trained = names(share)["qat"].values()
    return (
        (small, scratch),
        (small, random),
        (level, tfmot),
        (trained, after),
        (sparse_trained, sparse_after),
    )


def programs(config: Config, seed: int) -> dict[str, tuple[str, list[str]]]:
    """Experiment behind each name, and its flags."""
    common = {field: getattr(config, field) for field in _COMMON}
    common |= {"seeds": seed, "run": f"seed{seed}"}
    own: dict[str, tuple[str, dict[str, Any]]] = {
        "channels": ("unet-channel-prune", {"target_macs": config.share, "levels": 0.5}),
        "tfmot": ("unet-tfmot-prune", {}),
        "qat": ("unet-qat", {"from_run": _folder(config, "unet-tfmot-prune", seed)}),
        "2:4": (
            "unet-level-prune",
            {"granularity": "2:4", "sparsity": 0.5, "scope": "layer", "channel_macs": 0.0},
        ),
    }
    return {
        name: (
            experiment,
            [part for field, value in {**common, **more}.items() for part in _flag(field, value)],
        )
        for name, (experiment, more) in own.items()
    }


def rows_of(config: Config, seed: int) -> dict[str, list[Mapping[str, Any]]]:
    """Rows that each experiment measured, the dense U-Net first."""
    rows = {}
    for name, (experiment, flags) in programs(config, seed).items():
        done = subprocess.run([sys.executable, "-m", module_of(experiment), *flags, "--resume"])
        if done.returncode:
            raise SystemExit(done.returncode)  # the experiment has said why
        metrics = json.loads((_folder(config, experiment, seed) / "metrics.json").read_text())
        rows[name] = metrics["comparison"]["rows"]
    return rows


def module_of(experiment: str) -> str:
    """`experiments.unet.channel_prune` of `unet-channel-prune`."""
    room, _, program = experiment.partition("-")
    return f"experiments.{room}.{program.replace('-', '_')}"


def _folder(config: Config, experiment: str, seed: int) -> Path:
    return Path(config.root) / experiment / f"seed{seed}"


def _flag(field: str, value: Any) -> list[str]:
    """Flag and value, such as `--dense-epochs 6`; nothing without a value."""
    if value is None or value == "":
        return []
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{field.replace('_', '-')}", *map(str, values)]


def forms(
    seeds: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]],
    names: Mapping[str, Mapping[str, str]],
) -> dict[str, Form]:
    """Named rows of each experiment beside its first row, over seeds."""
    found = {}
    for experiment, titles in names.items():
        for row, title in titles.items():
            both = []
            for seed in seeds:
                rows = seed[experiment]
                both.append((rows[0], next(r for r in rows if r["name"] == row)))
            quality = np.array([[r["quality"]["mean_iou"] for r in pair] for pair in both])
            time = np.array([[r["latency"]["median_ms"] for r in pair] for pair in both])
            size = np.array([[r["size_bytes"] for r in pair] for pair in both])
            found[title] = Form(
                quality[:, 1],
                quality[:, 1] - quality[:, 0],
                time[:, 0] / time[:, 1],
                size[:, 1] / size[:, 0],
            )
    return found


def _interval(values: np.ndarray) -> str:
    """Student's t interval of the mean."""
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    return f"{low:+.4f} to {high:+.4f}"


if __name__ == "__main__":
    run_experiment(Config, main)
