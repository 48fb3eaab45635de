"""The U-Net's search by either tool: data, dense U-Net, search, training of the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from experiments.common.report import History, Report, history_section, quality_by_name
from experiments.common.seeds import seed_file
from experiments.search.run import Tool, check_tool, run_search, search_report
from experiments.search.tasks import Task, UnetSearch, pruned_unet, unet_task
from experiments.unet.segmentation import SMOKE, mean_iou_on
from experiments.unet.study import Study
from tfcompress.graph.saving import save_plain
from tfcompress.reporting.run import Run


def main_of(tool: Tool) -> Callable[[UnetSearch, Run], Report]:
    """The search by a tool, as a program's `main`."""

    def main(config: UnetSearch, run: Run) -> Report:
        """Search, train the default and the best parameters, compare."""
        check_tool(config, tool)
        study = Study.of(config, run)
        folder = config.data or str(run.path("generated_tiles"))
        config = replace(config, data=str(Path(folder).resolve()))
        if config.what == "pruning":
            if not config.dense:
                study.train_whole("dense", config.seed)
            dense = Path(config.dense or seed_file(run, config.seed, "dense"))
            config = replace(config, dense=str(dense.resolve()))
        study = replace(study, config=config)
        task = unet_task(config, study.data)
        found = run_search(run, config, task, tool, "unet")
        run.print("training with the default parameters and with the best")
        parameters = {"default": task.space.defaults(), "best": dict(found.best.params)}
        histories = {n: _train(study, task, n, params) for n, params in parameters.items()}
        models = {name: study.load(config.seed, name) for name in parameters}
        save_plain(models["best"], run.path("model.keras"), training_state=False)
        outputs, comparison = study.compare(models)
        classes = len(study.data.palette)
        validation = {n: mean_iou_on(m, study.data.val, classes)[0] for n, m in models.items()}
        sections, tables, headline, metrics = search_report(
            run, config, task, found, "mean IoU", validation, quality_by_name(comparison)
        )
        report = study.report(
            comparison,
            f"Search of the U-Net's {config.what}",
            headline,
            [*sections, history_section(run, histories), study.predictions(outputs)],
            **metrics,
        )
        return replace(report, tables=(*tables[:-1], *report.tables, tables[-1]))

    return main


def _train(study: Study, task: Task, name: str, params: dict[str, Any]) -> History:
    """Train (or prune and tune) with parameters; writes `name-seedN.keras`."""
    config, seed = study.config, study.config.seed
    if config.what == "training":
        chosen = replace(study, config=replace(config, **task.fields(params)))
        return chosen.train_whole(name, seed)

    def training(path: Path) -> History:
        keras.utils.set_random_seed(seed)
        model, pruner = pruned_unet(config, study.data, params)
        history = study.fit(model, name, seed, config.tune_epochs)
        pruner.save(path, training_state=False)
        report = pruner.report()
        share = report.zeros / report.weights
        study.run.print(f"{name}: {share:.1%} zeros in the levels that were pruned")
        return history

    return study.once(name, seed, training)


SEARCH_SMOKE: dict[str, Any] = {**SMOKE, "epochs": 3, "trials": 3, "tune_epochs": 2}
