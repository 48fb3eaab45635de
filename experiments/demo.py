"""make demo: the main job on generated aerial tiles, in minutes.

Draws tiles, trains a U-Net, prunes a second one to 80 % zeros while its training goes on, takes
channels from a third until half its MACs are left, makes both int8, and writes a page that compares
the finished files. Expect a mean IoU above 0.85 for all of them.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass
from typing import Any

from experiments.common.program import run_experiment
from experiments.unet import level_prune as unet_level_prune


@dataclass(frozen=True, kw_only=True)
class Config(unet_level_prune.Config):
    """The demo's sizes."""

    patch: int = 96
    stride: int | None = 80
    epochs: int = 23
    dense_epochs: int = 6
    sparse_epoch: int = 14
    batch: int = 4
    channel_macs: float = 0.5


def main(config: Config) -> dict[str, Any]:
    """Run the demo; the metrics."""
    return unet_level_prune.main(config, experiment="demo")


if __name__ == "__main__":
    run_experiment(Config, main, unet_level_prune.LEVEL_SMOKE)
