"""A small U-Net on generated tiles, for `SMOKE=1` of experiments that start from a model file."""

from __future__ import annotations

from pathlib import Path

from experiments.unet import train as unet_train
from experiments.unet.segmentation import SMOKE

SMOKE_MODEL = "smoke"
"""What `MODEL` is set to when such an experiment is run with SMOKE=1 and no MODEL."""


def make_smoke_model(root: str | Path) -> tuple[Path, Path]:
    """Train it (or find it) under `root/unet-train/smoke`; the model file and its tiles."""
    config = unet_train.Config(**SMOKE, root=str(root), run="smoke", resume=True)
    unet_train.main(config)
    folder = Path(root) / "unet-train" / "smoke"
    return folder / "model.keras", folder / "generated_tiles"
