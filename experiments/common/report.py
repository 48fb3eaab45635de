"""How every experiment ends: nothing to do, metrics and artefacts, the training's plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_history, save_figure
from tfcompress.reporting.run import Run

if TYPE_CHECKING:  # it loads TensorFlow, which the experiments in PyTorch do without
    from tfcompress.comparison import Comparison

_ARTEFACTS = (".keras", ".tflite", ".pt", ".html", ".json", ".csv")


def already_finished(run: Run) -> dict[str, Any]:
    """Say that there is nothing to do; the metrics that the run wrote."""
    run.console.print(
        f"{run.folder} is finished with this very configuration: nothing to do. "
        "Choose another RUN to train again.",
        highlight=False,
    )
    run.close()
    return run.read_json("metrics.json")


def finish(run: Run, comparison: Comparison, more: dict[str, Any]) -> dict[str, Any]:
    """Write the metrics of a comparison and more, say where everything is, close the run."""
    return end_run(run, {"comparison": comparison.to_dict(), **more})


def end_run(run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """Write the metrics, say where everything is, close the run."""
    run.finish(metrics)
    files = [path.name for path in sorted(run.folder.iterdir()) if path.suffix in _ARTEFACTS]
    run.print(f"in {run.folder}/: {', '.join(files)}", style="bold")
    return metrics


def history_section(
    run: Run,
    histories: dict[str, list[dict[str, float]]],
    marks: dict[str, float] | None = None,
    metrics: Mapping[str, str] = {"mean_iou": "mean IoU", "loss": "loss"},
) -> Section:
    """Metrics against the epoch, as a report section.

    Args:
        run: Where the pictures go.
        histories: Rows of each model, by name.
        marks: Vertical lines: label to epoch.
        metrics: Title of each metric, by its key in the rows.
    """
    pictures = []
    for metric, title in metrics.items():
        figure = plot_history(histories, metric, title, marks or {})
        path = save_figure(figure, run.path("plots", f"{metric}.png"))
        pictures.append((f"{title} against epoch, training and validation", path))
    return Section("Training", pictures=tuple(pictures))
