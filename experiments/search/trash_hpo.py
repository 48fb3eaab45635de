"""make trash-hpo: search how the trash classifier is best trained, by keras-tuner (or TOOL=nni).

TRIALS trials, CONCURRENCY at a time, by TUNER, for the competition's score (or macro F1). Then the
default parameters and the best are trained anew and measured on test images that no trial saw.
`best_params.json` is for PARAMS of other targets.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file
from experiments.search.run import (
    check_tool,
    difference_table,
    effort,
    run_search,
    search_sections,
)
from experiments.search.tasks import TrashSearch, trash_task
from experiments.trash.classification import (
    CLASSIFIER_SMOKE,
    Images,
    build_classifier,
    compile_classifier,
    load_images,
    read_images,
    train_classifier,
    write_card,
)
from experiments.trash.classifier_files import (
    F1_AND_LOSS,
    classifier_section,
    compare_classifiers,
    score_table,
)
from tfcompress.comparison import Comparison, compare
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import write_page
from tfcompress.reporting.run import Run, environment, open_run

DEFAULT, BEST = "default", "best"


def main(config: TrashSearch) -> dict[str, Any]:
    """Search, train the best, compare; the metrics."""
    run = open_run(config.root, "trash-hpo", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    check_tool(config, config.tool)
    load_images(config, run)
    if config.source == "folder":
        folder = config.data or str(run.path("generated_trash"))
        config = replace(config, data=str(Path(folder).resolve()))
    task = trash_task(config)
    found = run_search(run, config, task, config.tool, "trash")
    run.print("training the default parameters and the best anew")
    parameters = {DEFAULT: task.space.defaults(), BEST: dict(found.best.params)}
    models, histories, comparisons, validation = {}, {}, {}, {}
    for name, params in parameters.items():
        chosen = replace(config, **task.fields(params))
        images = read_images(chosen, Path(chosen.data) if chosen.data else Path())
        histories[name] = _train(chosen, images, run, name)
        models[name] = keras.saving.load_model(seed_file(run, config.seed, name))
        comparisons[name], _ = compare_classifiers({name: models[name]}, images, chosen)
        metrics = compare(models[name], data=images.part("val"), names=[name], latency=False)
        validation[name] = metrics.rows[0].quality["macro_f1"]
        if name == BEST:
            write_card(run, images, chosen)
    save_plain(models[BEST], run.path("model.keras"), training_state=False)
    comparison = _joined(comparisons)
    rows = {row.name: row.quality["macro_f1"] for row in comparison.rows}
    brought = difference_table("macro F1", [(n, validation[n], rows[n]) for n in parameters])
    write_page(
        run.path("report.html"),
        "Search of the classifier's training",
        f"Macro F1 on the test images, which no trial saw: {rows[DEFAULT]:.4f} with the default "
        f"parameters, {rows[BEST]:.4f} with the best of {len(found.trials)} trials.",
        [
            *search_sections(run, config, task, found),
            classifier_section(run, comparison, score_table(comparison)),
            history_section(run, histories, metrics=F1_AND_LOSS),
        ],
        compared(config),
        environment(),
    )
    run.print(found.table(12, params=False), found.best_table(), effort(config, task, found))
    run.print(comparison.table(), score_table(comparison), brought)
    more = {"search": {"best": task.fields(found.best.params), "epochs": found.epochs}}
    return finish(run, comparison, {**more, "validation": validation})


def _train(config: TrashSearch, images: Images, run: Run, name: str) -> list[dict[str, float]]:
    """Train with a config; writes `name-seedN.keras`."""
    keras.utils.set_random_seed(config.seed)
    model = build_classifier(config, len(images.classes))
    compile_classifier(model, config)
    history = train_classifier(model, config, images, run, name, config.seed, config.epochs)
    save_plain(model, seed_file(run, config.seed, name), training_state=False)
    return history


def _joined(comparisons: Mapping[str, Comparison]) -> Comparison:
    """One table of models that see the test images at different sizes."""
    first = next(iter(comparisons.values()))
    return replace(first, rows=tuple(row for c in comparisons.values() for row in c.rows))


if __name__ == "__main__":
    run_experiment(TrashSearch, main, {**CLASSIFIER_SMOKE, "epochs": 2, "trials": 2})
