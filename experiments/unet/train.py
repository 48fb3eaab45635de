"""make unet-train: train the multi-class U-Net on a folder of images and masks.

DATA is the folder; without it, aerial tiles are generated. The best epoch on the validation patches
is kept, and measured on test patches of images that were never trained on.

Takes about 2 minutes on two CPU cores (20 epochs of 4 s on generated tiles). Prints one line per
epoch, then mean IoU, cost and latency of `model.keras`.
"""

from dataclasses import dataclass

import keras

from experiments.common.program import Program
from experiments.common.report import Report, history_section
from experiments.unet.segmentation import SMOKE, SegmentationConfig
from experiments.unet.study import Study
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Train the U-Net."""

    seed: int = 0
    """Seed of the weights and of the order of the patches."""


def main(config: Config, run: Run) -> Report:
    """Train, save `model.keras`, measure it on the test patches."""
    study = Study.of(config, run)
    model = train_unet(study)
    outputs, comparison = study.compare({"U-Net": model})
    images = len(study.data.groups["test"])
    return study.report(
        comparison,
        "Multi-class U-Net",
        f"Measured on {comparison.samples} test patches of {images} images that neither training "
        "nor model choice has seen.",
        [
            history_section(run, {"dense": run.read_json("training.json")}),
            study.predictions(outputs),
            Section("Cost of each layer", tables=(count_cost(model).table(),)),
        ],
    )


def train_unet(study: Study) -> keras.Model:
    """Train, save `model.keras` and the history; the model that the file holds."""
    seed, path = study.config.seed, study.run.path("model.keras")
    keras.utils.set_random_seed(seed)
    model = study.build()
    study.run.print(f"U-Net: {model.count_params():,} parameters")
    study.compile(model)
    history = study.fit(model, "U-Net", seed, folder="unet")
    study.run.write_history(history)
    study.run.write_json("training.json", history)
    save_plain(model, path, training_state=False)
    return keras.saving.load_model(path)


PROGRAM = Program("unet-train", Config, main, SMOKE)

if __name__ == "__main__":
    PROGRAM.start()
