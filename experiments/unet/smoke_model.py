"""A small U-Net on generated tiles, for `SMOKE=1` of programs that start from a model file."""

from __future__ import annotations

from pathlib import Path

from experiments.unet.segmentation import SMOKE
from experiments.unet.train import PROGRAM, Config


def make_smoke_model(root: str | Path) -> tuple[Path, Path]:
    """Train it (or find it) under `root/unet-train/smoke`; the model file and its tiles."""
    PROGRAM.run(Config(**SMOKE, root=str(root), run="smoke", resume=True))
    folder = Path(root) / "unet-train" / "smoke"
    return folder / "model.keras", folder / "generated_tiles"
