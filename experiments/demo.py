"""make demo: compress a U-Net on generated aerial tiles, from training to one page.

Generates tiles, trains a U-Net, prunes a second one to 80 % zeros while it trains, removes channels
from a third until half its MACs are left, makes both int8, and writes a page that compares the
finished files.

Takes 6 min 40 s on two CPU cores after set-up. Expect a mean IoU above 0.85 for all five files, and
3.5 times the speed of the dense one for the pruned int8 file on a CPU with int8 instructions
(docs/measurements.md, "The demo").
"""

from dataclasses import dataclass

from experiments.common.program import Program
from experiments.unet import level_prune


@dataclass(frozen=True, kw_only=True)
class Config(level_prune.Config):
    """The demo's sizes."""

    patch: int = 96
    stride: int | None = 80
    epochs: int = 23
    dense_epochs: int = 6
    sparse_epoch: int = 14
    batch: int = 4
    channel_macs: float = 0.5


PROGRAM = Program("demo", Config, level_prune.main, level_prune.LEVEL_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()
