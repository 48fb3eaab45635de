"""make yolo-nas-darts, yolo-nas-enas: one-shot architecture search around MODEL.

One supernet holds every option; STRATEGY (darts, gumbel, proxyless, enas or random) finds an
architecture in it, on detection itself or on a proxy task. The found detector, the plain one and a
random one of the space are then trained for the same EPOCHS.

Takes more than an hour on two CPU cores (30 epochs of the supernet, and 240 of the final trainings,
16 s each for the plain detector on 200 generated images). Prints MACs and certainty after each
epoch of the supernet, then mAP and cost of the detectors. docs/measurements.md ("Architecture
search around the detector"): on blood cells DARTS saved 7 % of the MACs at the plain detector's
quality.
"""

from dataclasses import dataclass
from typing import Literal

from bridges.yolov5.nas.oneshot import OneShotSettings, search_oneshot
from bridges.yolov5.nas.plots import plot_probabilities, plot_trajectory
from experiments.common.live_page import live_page, rows_table
from experiments.common.program import Program
from experiments.common.report import Report, picture
from experiments.yolo.detection import BAD_INPUT
from experiments.yolo.nas import NAS_SMOKE, NasConfig, compare_found, proxy_of, space_of
from experiments.yolo.study import Study
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(NasConfig):
    """Search in one supernet."""

    strategy: Literal["darts", "gumbel", "proxyless", "enas", "random"] = "darts"
    """Strategy that chooses in the supernet."""
    search_epochs: int = 30
    """Number of epochs of the search."""
    search_rate: float = 0.002
    """Learning rate of the supernet's weights, by `optimizer`."""
    choice_rate: float = 0.0
    """Learning rate of the choices; 0: the strategy's own."""
    warmup_search: int = 2
    """Number of first epochs in which only the supernet's weights are trained."""
    inherit: bool = False
    """Whether the found detector is also trained from the supernet's weights (proxy detection)."""

    def check(self) -> None:
        """Check what would only fail after loading."""
        super().check()
        self.search_settings()
        if self.inherit and self.proxy != "detection":
            raise ConfigError(
                "inherit", f"the proxy is {self.proxy}", "search on detection, or leave it off"
            )
        space_of(self)

    def search_settings(self) -> OneShotSettings:
        """How the supernet is trained.

        Raises:
            ConfigError: A field is out of its range.
        """
        return OneShotSettings(
            strategy=self.strategy,
            epochs=self.search_epochs,
            optimizer=self.optimizer,
            learning_rate=self.search_rate,
            choice_rate=self.choice_rate,
            macs_weight=self.macs_weight,
            macs_budget=self.macs_budget,
            warmup_epochs=self.warmup_search,
            seed=self.seed,
        )


def main(config: Config, run: Run) -> Report:
    """Search, train, compare."""
    study, settings = Study.of(config, run), config.search_settings()
    proxy = proxy_of(config, study.data)

    rows: list[dict[str, float]] = []

    def show(row: dict[str, float]) -> None:
        rows.append(row)
        renew(rows_table(rows))
        reward = f"  reward {row['reward']:.4f}" if "reward" in row else ""
        run.print(
            f"supernet {int(row['epoch']):3d}/{settings.epochs}  loss {row['loss']:.4f}{reward}  "
            f"expected MACs {row['expected_macs'] / 1e6:,.1f} M, of the likeliest "
            f"{row['likeliest_macs'] / 1e6:,.1f} M  certainty {row['certainty']:.3f}"
        )

    title = f"One-shot search with {config.strategy}"
    with live_page(run, title, config.port) as renew:
        result = search_oneshot(space_of(config), proxy, settings, run.path("checkpoints"), show)
    run.print(
        f"found: {result.macs:,} MACs on the proxy's images, {result.macs / result.plain_macs:.2f} "
        f"of the plain detector's {result.plain_macs:,}"
    )
    starts = {}
    if config.inherit:
        network = result.network(proxy.builder(space_of(config)))
        network.choices = dict(result.architecture.choices)
        starts["inherited"] = network
    trajectory = plot_trajectory(result.history, result.plain_macs)
    probabilities = plot_probabilities(result.probabilities)
    pictures = (
        picture(run, "trajectory", trajectory, "The search, epoch by epoch"),
        picture(run, "probabilities", probabilities, "Probabilities of the options"),
    )
    numbers = {
        "macs": result.macs,
        "plain_macs": result.plain_macs,
        "history": list(result.history),
    }
    section = Section("The search", pictures=pictures)
    return compare_found(study, result.architecture, title, section, {"search": numbers}, starts)


SMOKE = {**NAS_SMOKE, "search_epochs": 2, "warmup_search": 1, "search_side": 64}
PROGRAM = Program("yolo-nas", Config, main, SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()
