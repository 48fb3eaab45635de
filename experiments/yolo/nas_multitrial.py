"""make yolo-nas-multitrial: architectures around MODEL, each trained by itself for a few epochs.

STRATEGY is random, grid, evolution (NNI's), tpe or nsga2 (Optuna's). The best one, the plain one
and a random one of the space are then trained for the same EPOCHS.
"""

from dataclasses import dataclass
from typing import Any, Literal

from bridges.yolov5.nas.architecture import FoundArchitecture
from bridges.yolov5.nas.detection_trial import DetectionTrial
from bridges.yolov5.nas.multitrial import MultiTrialResult, as_rows, describe, search_multitrial
from bridges.yolov5.nas.proxy_trial import ProxyTrial
from bridges.yolov5.nas.trials import MultiTrialSettings, TrialRecord
from experiments.common.live_page import live_page, rows_table
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished
from experiments.yolo.detection import BAD_INPUT, load_detection
from experiments.yolo.nas import NAS_SMOKE, NasConfig, finish_search, proxy_of, space_of
from models.yolov5.search_space import list_choices, plain_choices
from tfcompress import MedianStop
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_tradeoff, save_figure
from tfcompress.reporting.run import Run, open_run


@dataclass(frozen=True, kw_only=True)
class Config(NasConfig):
    """Search by training many architectures."""

    strategy: Literal["random", "grid", "evolution", "tpe", "nsga2"] = "evolution"
    trials: int = 12
    concurrency: int = 1
    """Trials at once; 1 is reproducible from the seed."""
    trial_epochs: int = 6
    """Epochs of each trial."""
    objective: Literal["map", "macs", "latency"] = "macs"
    """mAP50-95 alone, or less what MACs or latency beyond `macs_budget` cost; on a proxy always
    the accuracy less that for MACs."""
    population: int = 5
    mutation: float = 0.1
    around_plain: bool = True
    """Evolution, TPE and NSGA-II try the plain architecture first, and evolution's first population
    are mutations of it; else all are drawn evenly from the space."""
    prune: bool = True
    """Stop trials that are below the median of the others at half their epochs or later (the first
    epochs of a detector say nothing), from the fifth trial on."""

    def check(self) -> None:
        """Check what would fail after loading."""
        super().check()
        self.search_settings()
        space_of(self)
        if self.proxy != "detection" and self.objective == "latency":
            raise ConfigError("objective", "a proxy has no latency", "use map or macs")

    def search_settings(self) -> MultiTrialSettings:
        """How architectures are chosen.

        Raises:
            ConfigError: A field is out of its range.
        """
        return MultiTrialSettings(
            sampler=self.strategy,
            trials=self.trials,
            concurrency=self.concurrency,
            stop=MedianStop(max(1, self.trial_epochs // 2), 4) if self.prune else None,
            population=self.population,
            mutation=self.mutation,
            second="latency_ms" if self.objective == "latency" else "macs",
            start=plain_choices(space_of(self)) if self.around_plain else None,
            seed=self.seed,
        )


def main(config: Config) -> dict[str, Any]:
    """Search, train, compare, report; the metrics."""
    run = open_run(config.root, "yolo-nas", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_detection(config, run)
    space = space_of(config)
    threads = 1 if config.concurrency > 1 else 0
    if config.proxy == "detection":
        evaluate = DetectionTrial(
            space=space,
            data=config.data or str(run.path("generated_shapes")),
            settings=config.settings(config.trial_epochs),
            objective=config.objective,
            weight=config.macs_weight,
            budget=config.macs_budget,
            threads=threads,
        )
    else:
        evaluate = ProxyTrial(
            space=space,
            proxy=proxy_of(config, data),
            epochs=config.trial_epochs,
            weight=config.macs_weight,
            budget=config.macs_budget,
            seed=config.seed,
            threads=threads,
        )

    rows: list[dict[str, float | str]] = []

    def show(record: TrialRecord) -> None:
        rows.append({"trial": record.number, "state": record.state, **record.scores})
        renew(rows_table(rows))
        run.print(describe(record, config.trials))

    with live_page(run, f"Multi-trial search with {config.strategy}", config.port) as renew:
        result = search_multitrial(
            list_choices(space), evaluate, config.search_settings(), run.path("trials"), show
        )
    run.write_history(as_rows(result), "trials.csv")
    run.print(result.table())
    best = result.best
    found = FoundArchitecture(
        space, best.choices, {"strategy": config.strategy, "trial": best.number, **best.scores}
    )
    return finish_search(
        run,
        config,
        data,
        found,
        f"Multi-trial search with {config.strategy}",
        [_section(run, result)],
        {"search": {"best_trial": best.number, "trials": as_rows(result)}},
    )


def _section(run: Run, result: MultiTrialResult) -> Section:
    """Every finished trial by its cost."""
    pictures = []
    quality = "map" if "map" in result.best.scores else "reward"
    name = {"map": "validation mAP50-95", "reward": "accuracy on the proxy"}[quality]
    for key, title, scale in (("macs", "million MACs", 1e6), ("latency_ms", "ms, one thread", 1.0)):
        if key not in result.best.scores:
            continue
        points = [
            (str(t.number), t.scores[key] / scale, t.scores[quality]) for t in result.finished
        ]
        figure = plot_tradeoff(points, title, name)
        pictures.append(
            (f"What was tried: quality against {title}",
             save_figure(figure, run.path("plots", f"trials_{key}.png")))
        )  # fmt: skip
    return Section("The search", tables=(result.table(),), pictures=tuple(pictures))


if __name__ == "__main__":
    run_experiment(
        Config, main, {**NAS_SMOKE, "trials": 3, "trial_epochs": 1}, user_errors=BAD_INPUT
    )
