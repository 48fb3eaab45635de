"""What a classifier gets wrong on the test images, as a section of the page."""

from __future__ import annotations

import numpy as np

from experiments.common.report import picture
from experiments.trash.classification import Images
from tfcompress.evaluation.segmentation import confusion_matrices
from tfcompress.reporting.mistakes import plot_confusion, plot_images, worst_classified
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


def mistakes_section(
    run: Run, images: Images, name: str, output: np.ndarray, shown: int = 12
) -> Section:
    """Confusion matrix, and the images that the model is most confidently wrong about.

    Args:
        run: Run that the pictures are saved in.
        images: Data.
        name: Name of the model.
        output: Predicted probabilities on the test images, `(N, C)`.
        shown: Number of images to show, at most.
    """
    test, classes = images.data.test, images.classes
    counts = confusion_matrices(test.labels, output.argmax(axis=1), len(classes)).sum(axis=0)
    pictures = [
        picture(
            run,
            "confusion",
            plot_confusion(counts, classes, title=name),
            "Test images of each class (rows) by predicted class",
        )
    ]
    worst = worst_classified(test.labels, output, shown)
    if worst:
        titles = [
            f"{classes[test.labels[index]]}\nas {classes[label]}, {confidence:.2f}"
            for index, label, confidence in worst
        ]
        figure = plot_images([test.images[index].squeeze() for index, *_ in worst], titles)
        caption = "The most confident mistakes: class, and what it was taken for, how confidently"
        pictures.append(picture(run, "worst", figure, caption))
    return Section(f"Mistakes of {name}", pictures=tuple(pictures))
