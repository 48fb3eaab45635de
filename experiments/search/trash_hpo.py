"""make trash-hpo: search the trash classifier's training with keras-tuner (or `--tool nni`).

TRIALS trials, CONCURRENCY at a time, proposed by TUNER, for the competition's score (or macro F1).
Then the default parameters and the best ones are trained and measured on test images that no
trial saw. `best_params.json` is for PARAMS of other targets.

Takes about 10 minutes on two CPU cores (12 trials of at most 30 epochs of 2 s on 2,100 generated
pictures, most of them stopped early, and 60 epochs after them). Prints every trial, then validation
and test macro F1 of both.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.common.program import Program
from experiments.common.report import Report, quality_by_name
from experiments.search.run import check_tool, run_search, search_report
from experiments.search.tasks import TrashSearch, trash_task
from experiments.trash.classification import (
    CLASSIFIER_SMOKE,
    load_images,
    read_images,
    write_card,
)
from experiments.trash.study import Study, compare_classifiers, score_table
from tfcompress.comparison import Comparison, compare
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.run import Run


def main(config: TrashSearch, run: Run) -> Report:
    """Search, train the default and the best parameters, compare."""
    check_tool(config, config.tool)
    images = load_images(config, run)
    if config.source == "folder":
        folder = config.data or str(run.path("generated_trash"))
        config = replace(config, data=str(Path(folder).resolve()))
    task = trash_task(config)
    found = run_search(run, config, task, config.tool, "trash")
    run.print("training with the default parameters and with the best")
    parameters = {"default": task.space.defaults(), "best": dict(found.best.params)}
    study = Study(config, images, run)
    comparisons, validation = {}, {}
    for name, params in parameters.items():
        chosen = replace(config, **task.fields(params))
        images = read_images(chosen, Path(chosen.data) if chosen.data else Path())
        model = replace(study, config=chosen, images=images).train(name, config.seed)
        comparisons[name], _ = compare_classifiers({name: model}, images, chosen)
        metrics = compare(model, data=images.part("val"), names=[name], latency=False)
        validation[name] = metrics.rows[0].quality["macro_f1"]
    write_card(run, images, chosen)  # of the best, which came last
    save_plain(model, run.path("model.keras"), training_state=False)
    comparison = _joined(comparisons)
    sections, tables, headline, metrics = search_report(
        run, config, task, found, "macro F1", validation, quality_by_name(comparison, "macro_f1")
    )
    scores = score_table(comparison)
    report = study.report(
        comparison,
        scores,
        "Search of the classifier's training",
        headline,
        sections,
        **metrics,
    )
    return replace(report, tables=(*tables[:-1], *report.tables, tables[-1]))


def _joined(comparisons: Mapping[str, Comparison]) -> Comparison:
    """One table of models that see the test images at different sizes."""
    first = next(iter(comparisons.values()))
    return replace(first, rows=tuple(row for c in comparisons.values() for row in c.rows))


SMOKE = {**CLASSIFIER_SMOKE, "trials": 2}
PROGRAM = Program("trash-hpo", TrashSearch, main, SMOKE, doc=__doc__)

if __name__ == "__main__":
    PROGRAM.start()
