"""make yolo-nas-darts, yolo-nas-enas: one-shot architecture search around MODEL.

One supernet holds every option; DARTS (or gumbel, proxyless, enas, random: STRATEGY) finds an
architecture in it, on detection itself or on a proxy of digits. The found detector, the plain one
and a random one of the space are then trained for the same EPOCHS.
"""

from dataclasses import dataclass
from typing import Any, Literal

from bridges.yolov5.nas.oneshot import OneShotSettings, search_oneshot
from experiments.common.live_page import live_page, rows_table
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished
from experiments.yolo.detection import BAD_INPUT, load_detection
from experiments.yolo.nas import (
    NAS_SMOKE,
    NasConfig,
    finish_search,
    plot_probabilities,
    plot_trajectory,
    proxy_of,
    space_of,
)
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import save_figure
from tfcompress.reporting.run import open_run


@dataclass(frozen=True, kw_only=True)
class Config(NasConfig):
    """Search in one supernet."""

    strategy: Literal["darts", "gumbel", "proxyless", "enas", "random"] = "darts"
    search_epochs: int = 30
    search_rate: float = 0.002
    """Learning rate of the supernet's weights, by `optimizer`."""
    choice_rate: float = 0.0
    """Learning rate of the choices; 0: the strategy's own."""
    warmup_search: int = 2
    """Epochs in which the supernet's weights alone are trained."""
    inherit: bool = False
    """Also train the found detector from the supernet's weights (with proxy detection)."""

    def check(self) -> None:
        """Check what would fail after loading."""
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


def main(config: Config) -> dict[str, Any]:
    """Search, train, compare, report; the metrics."""
    run = open_run(config.root, "yolo-nas", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_detection(config, run)
    proxy = proxy_of(config, data)
    settings = config.search_settings()

    rows: list[dict[str, float]] = []

    def show(row: dict[str, float]) -> None:
        rows.append(row)
        renew(rows_table(rows))
        reward = f"  reward {row['reward']:.4f}" if "reward" in row else ""
        run.print(
            f"supernet {int(row['epoch']):3d}/{settings.epochs}  loss {row['loss']:.4f}{reward}  "
            f"MACs expected {row['expected_macs'] / 1e6:,.1f} M, of the likeliest "
            f"{row['likeliest_macs'] / 1e6:,.1f} M  certainty {row['certainty']:.3f}"
        )

    with live_page(run, f"One-shot search with {config.strategy}", config.port) as renew:
        result = search_oneshot(space_of(config), proxy, settings, run.path("checkpoints"), show)
    run.print(
        f"found: {result.macs:,} MACs on the proxy's images, plain {result.plain_macs:,} "
        f"({result.macs / result.plain_macs:.2f} of it)"
    )
    starts = {}
    if config.inherit:
        network = result.network(proxy.builder(space_of(config)))
        network.choices = dict(result.architecture.choices)
        starts["inherited"] = network
    pictures = (
        (
            "The search, epoch by epoch",
            save_figure(
                plot_trajectory(result.history, result.plain_macs),
                run.path("plots", "trajectory.png"),
            ),
        ),
        (
            "Probabilities of the options",
            save_figure(
                plot_probabilities(result.probabilities), run.path("plots", "probabilities.png")
            ),
        ),
    )
    return finish_search(
        run,
        config,
        data,
        result.architecture,
        f"One-shot search with {config.strategy}",
        [Section("The search", pictures=pictures)],
        {
            "search": {
                "macs": result.macs,
                "plain_macs": result.plain_macs,
                "history": list(result.history),
            }
        },
        starts,
    )


if __name__ == "__main__":
    run_experiment(
        Config,
        main,
        {**NAS_SMOKE, "search_epochs": 2, "warmup_search": 1, "search_side": 64},
        user_errors=BAD_INPUT,
    )
