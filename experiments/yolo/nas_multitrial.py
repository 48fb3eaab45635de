"""make yolo-nas-multitrial: architectures around MODEL, each trained on its own for a few epochs.

STRATEGY is random, grid, evolution (NNI's), tpe or nsga2 (Optuna's). The best architecture, the
plain one and a random one of the space are then trained for the same EPOCHS.

Takes about 80 minutes on two CPU cores (72 epochs of trials and 240 of the final trainings, 16 s
each for the plain detector on 200 generated images). Prints every trial, then mAP and cost of the
three detectors. docs/measurements.md ("Architecture search around the detector"): ten trials of six
epochs on blood cells found nothing better than the plain detector.
"""

from dataclasses import dataclass
from typing import Literal

from bridges.yolov5.nas.architecture import FoundArchitecture
from bridges.yolov5.nas.detection_trial import DetectionTrial
from bridges.yolov5.nas.multitrial import MultiTrialResult, as_rows, describe, search_multitrial
from bridges.yolov5.nas.proxy_trial import ProxyTrial
from bridges.yolov5.nas.trials import MultiTrialSettings, TrialRecord
from experiments.common.live_page import live_page, rows_table
from experiments.common.program import Program
from experiments.common.report import Report, picture
from experiments.yolo.detection import BAD_INPUT
from experiments.yolo.nas import NAS_SMOKE, NasConfig, compare_found, proxy_of, space_of
from experiments.yolo.study import Study
from models.yolov5.search_space import list_choices, plain_choices
from tfcompress import MedianStop
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_tradeoff
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(NasConfig):
    """Search by training many architectures."""

    strategy: Literal["random", "grid", "evolution", "tpe", "nsga2"] = "evolution"
    """Strategy that proposes architectures."""
    trials: int = 12
    """Number of trials."""
    concurrency: int = 1
    """Number of trials at once; 1 is reproducible from the seed."""
    trial_epochs: int = 6
    """Epochs of each trial."""
    objective: Literal["map", "macs", "latency"] = "macs"
    """mAP50-95 alone, or minus a penalty for MACs or latency above `macs_budget`; on a proxy always
    the accuracy minus that for MACs."""
    population: int = 5
    """Population size of evolution."""
    mutation: float = 0.1
    """Probability that evolution changes a choice."""
    around_plain: bool = True
    """Whether evolution, TPE and NSGA-II try the plain architecture first, and evolution starts
    from mutations of it; otherwise all are drawn uniformly from the space."""
    prune: bool = True
    """Whether trials below the median of the others stop from half their epochs on (the first
    epochs of a detector say nothing), starting with the fifth trial."""

    def check(self) -> None:
        """Check what would only fail after loading."""
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


def main(config: Config, run: Run) -> Report:
    """Search, train, compare."""
    study, space = Study.of(config, run), space_of(config)
    threads = 1 if config.concurrency > 1 else 0
    evaluate: DetectionTrial | ProxyTrial
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
            proxy=proxy_of(config, study.data),
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

    title = f"Multi-trial search with {config.strategy}"
    with live_page(run, title, config.port) as renew:
        result = search_multitrial(
            list_choices(space), evaluate, config.search_settings(), run.path("trials"), show
        )
    run.write_history(as_rows(result), "trials.csv")
    run.print(result.table())
    best = result.best
    origin = {"strategy": config.strategy, "trial": best.number, **best.scores}
    return compare_found(
        study,
        FoundArchitecture(space, best.choices, origin),
        title,
        _section(run, result),
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
        caption = f"Quality of every finished trial against {title}"
        pictures.append(picture(run, f"trials_{key}", plot_tradeoff(points, title, name), caption))
    return Section("The search", tables=(result.table(),), pictures=tuple(pictures))


SMOKE = {**NAS_SMOKE, "trials": 3, "trial_epochs": 1}
PROGRAM = Program("yolo-nas", Config, main, SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
