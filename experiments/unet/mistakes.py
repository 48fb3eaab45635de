"""What the best U-Net gets wrong on the test patches, as pictures of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.common.report import picture
from tfcompress.data.folder import Patches
from tfcompress.data.palette import Palette
from tfcompress.evaluation.segmentation import confusion_matrices, mean_iou
from tfcompress.reporting.mistakes import plot_confusion, worst_segmented
from tfcompress.reporting.plots import plot_segmentations
from tfcompress.reporting.run import Run


def mistake_pictures(
    run: Run, patches: Patches, outputs: Mapping[str, np.ndarray], palette: Palette, shown: int = 4
) -> list[tuple[str, Path]]:
    """Confusion matrix of the model with the best mean IoU, and the patches it is worst on.

    Args:
        run: Run that the pictures are saved in.
        patches: Test patches.
        outputs: Predicted probabilities on them, by model.
        palette: Classes.
        shown: Number of patches to show.
    """
    classes = len(palette)
    predicted = {name: output.argmax(axis=-1) for name, output in outputs.items()}
    counts = {
        name: confusion_matrices(patches.labels, labels, classes).sum(axis=0)
        for name, labels in predicted.items()
    }
    best = max(counts, key=lambda name: float(mean_iou(counts[name])))
    pictures = [
        picture(
            run,
            "confusion",
            plot_confusion(counts[best], palette.names, shares=True, title=best),
            f"Pixels of each class (rows) by the class that {best}, the best here, predicts",
        )
    ]
    worst = worst_segmented(patches.labels, predicted[best], classes, shown)
    if worst:
        chosen = [index for index, _ in worst]
        figure = plot_segmentations(
            patches.images[chosen],
            patches.labels[chosen],
            {name: labels[chosen] for name, labels in predicted.items()},
            palette.names,
            palette.colors,
        )
        wrong = ", ".join(f"{share:.0%}" for _, share in worst)
        caption = f"The patches on which {best} is worst; wrong pixels, from the top: {wrong}"
        pictures.append(picture(run, "worst", figure, caption))
    return pictures
