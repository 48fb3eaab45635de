"""The U-Net's search by either tool: data, dense U-Net, search, training of the best, report."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from experiments.common.program import compared
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file
from experiments.common.training import Training, train
from experiments.search.run import (
    Tool,
    check_tool,
    difference_table,
    effort,
    run_search,
    search_sections,
)
from experiments.search.tasks import Task, UnetSearch, pruned_unet, unet_task
from experiments.unet.segmentation import (
    CARD_NAME,
    SMOKE,
    augmentation_of,
    build_model,
    card_of,
    comparison_section,
    load_data,
    mean_iou_on,
    prediction_section,
)
from experiments.unet.variants import History, train_whole
from tfcompress.comparison import compare, predict
from tfcompress.data.folder import SegmentationData
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.page import write_page
from tfcompress.reporting.run import Run, environment, open_run

EXPERIMENTS = {"keras-tuner": "unet-hpo", "nni": "unet-hpo-nni"}
DEFAULT, BEST = "default", "best"


def main(config: UnetSearch, tool: Tool) -> dict[str, Any]:
    """Search, train the best, compare; the metrics."""
    name = EXPERIMENTS[tool]
    run = open_run(config.root, name, config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    check_tool(config, tool)
    data = load_data(config, run)
    folder = config.data or str(run.path("generated_tiles"))
    config = replace(config, data=str(Path(folder).resolve()))
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    if config.what == "pruning":
        config = replace(config, dense=str(_dense(config, run, data).resolve()))
    task = unet_task(config, data)
    found = run_search(run, config, task, tool, "unet")
    run.print("training the default parameters and the best anew")
    parameters = {DEFAULT: task.space.defaults(), BEST: dict(found.best.params)}
    histories = {
        which: _train(config, task, run, data, which, params)
        for which, params in parameters.items()
    }
    models = {
        which: keras.saving.load_model(seed_file(run, config.seed, which)) for which in parameters
    }
    save_plain(models[BEST], run.path("model.keras"), training_state=False)
    outputs = {which: predict(model, data.test.images) for which, model in models.items()}
    comparison = compare(
        *models.values(),
        data=(data.test.images, data.test.labels),
        names=list(models),
        classes=data.palette.names,
        threads=config.threads,
        predictions=list(outputs.values()),
    )
    rows = {row.name: row.quality["mean_iou"] for row in comparison.rows}
    validation = {w: mean_iou_on(m, data.val, len(data.palette))[0] for w, m in models.items()}
    brought = difference_table("mIoU", [(w, validation[w], rows[w]) for w in parameters])
    write_page(
        run.path("report.html"),
        f"Search of the U-Net's {config.what}",
        f"Mean IoU on the test images, which no trial saw: {rows[DEFAULT]:.4f} with the default "
        f"parameters, {rows[BEST]:.4f} with the best of {len(found.trials)} trials.",
        [
            *search_sections(run, config, task, found),
            comparison_section(run, comparison),
            history_section(run, histories),
            prediction_section(run, data.test, outputs, data.palette),
        ],
        compared(config),
        environment(),
    )
    run.print(
        found.table(12, params=False),
        found.best_table(),
        effort(config, task, found),
        comparison.table(),
        brought,
    )
    more = {
        "search": {"best": task.fields(found.best.params), "epochs": found.epochs},
        "validation": validation,
    }
    return finish(run, comparison, more)


def _dense(config: UnetSearch, run: Run, data: SegmentationData) -> Path:
    """The U-Net that trials prune: from its file, or trained."""
    if config.dense:
        return Path(config.dense)
    build = partial(build_model, config, data)
    train_whole("dense", build, config, data, run, config.seed)
    return seed_file(run, config.seed, "dense")


def _train(
    config: UnetSearch,
    task: Task,
    run: Run,
    data: SegmentationData,
    name: str,
    params: dict[str, Any],
) -> History:
    """Train (or prune and tune) with parameters; writes `name-seedN.keras`."""
    if config.what == "training":
        chosen = replace(config, **task.fields(params))
        build = partial(build_model, chosen, data)
        return train_whole(name, build, chosen, data, run, config.seed)
    path = seed_file(run, config.seed, name)
    saved = run.read_json(f"checkpoints/{name}-seed{config.seed}.json")
    if path.is_file() and saved is not None:
        return saved
    keras.utils.set_random_seed(config.seed)
    model, pruner = pruned_unet(config, data, params)
    how = Training(name, f"{name}-seed{config.seed}", config.tune_epochs, config.batch, config.seed)
    history = train(model, data, augmentation_of(config), how, run)
    pruner.save(path, training_state=False)
    run.write_json(f"checkpoints/{name}-seed{config.seed}.json", history)
    report = pruner.report()
    run.print(f"{name}: {report.zeros / report.weights:.1%} zeros in the levels that were pruned")
    return history


SEARCH_SMOKE: dict[str, Any] = {**SMOKE, "epochs": 3, "trials": 3, "tune_epochs": 2}
