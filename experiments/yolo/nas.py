"""The architecture searches' fields; found, plain and random detectors trained alike."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.data.tiny_imagenet import tiny_imagenet_proxy
from bridges.yolov5.nas.architecture import FoundArchitecture, write_architecture
from bridges.yolov5.nas.plots import plot_architecture
from bridges.yolov5.nas.proxies import DetectionProxy, Proxy, digits_proxy
from experiments.common.report import Report, picture, write_histories
from experiments.yolo.detection import DETECTION_SMOKE, SMALL, DetectionConfig
from experiments.yolo.study import Study
from models.yolov5.architecture_file import Architecture
from models.yolov5.build import Detector
from models.yolov5.search_space import as_space, list_choices, plain_choices
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section

NAS_SMOKE = {**DETECTION_SMOKE, **SMALL, "shapes": 16, "epochs": 1, "plain_epochs": 0}


@dataclass(frozen=True, kw_only=True)
class NasConfig(DetectionConfig):
    """Fields of every architecture search; `epochs` are those of the final trainings."""

    macs_weight: float = 1.0
    """Penalty for twice the plain detector's MACs."""
    macs_budget: float = 1.0
    """Share of the plain detector's MACs (or latency) below which nothing more is gained; 0: every
    MAC counts, and the weight is what quality is traded for."""
    proxy: Literal["detection", "digits", "tiny-imagenet"] = "detection"
    """Task of the search: detection itself, or the accuracy of a classifier on the backbone."""
    proxy_data: str = ""
    """Folder of TinyImageNet, for that proxy."""
    port: int = 0
    """Port of the page that shows a running search, on loopback; 0: a free one."""
    search_side: int = 160
    """Side of the images when one supernet is searched on detection, in pixels."""
    search_batch: int = 8
    """Images per step when one supernet, or a proxy, is trained."""

    def check(self) -> None:
        """Check what would only fail after loading."""
        super().check()
        if self.proxy == "tiny-imagenet" and not self.proxy_data:
            raise ConfigError("proxy_data", "it is empty", "give the folder of tiny-imagenet-200")
        if not 0 <= self.port < 65536:
            raise ConfigError("port", f"it is {self.port}", "use 1 to 65535, or 0 for a free one")
        if self.macs_budget < 0:
            raise ConfigError("macs_budget", f"it is {self.macs_budget}", "give 0 or more")


def space_of(config: NasConfig) -> Architecture:
    """The space around the model's architecture.

    Raises:
        ArchitectureError: The architecture is unknown or wrong.
    """
    return as_space(config.model)


def proxy_of(config: NasConfig, data: DetectionData) -> Proxy:
    """The task of the search.

    Raises:
        DataError: TinyImageNet is not whole.
    """
    if config.proxy == "digits":
        return digits_proxy(32, config.search_batch)
    if config.proxy == "tiny-imagenet":
        return tiny_imagenet_proxy(config.proxy_data, 64, config.search_batch, seed=config.seed)
    return DetectionProxy(data, config.search_side, config.search_batch, Augmentation())


def random_architecture(space: Architecture, seed: int) -> FoundArchitecture:
    """An architecture drawn uniformly at random, for comparison."""
    generator = random.Random(seed)
    choices = {label: generator.choice(names) for label, names in list_choices(space).items()}
    return FoundArchitecture(space, choices, {"strategy": "drawn evenly", "seed": seed})


def compare_found(
    study: Study,
    found: FoundArchitecture,
    title: str,
    search: Section,
    more: Mapping[str, Any],
    starts: Mapping[str, Detector] = {},
) -> Report:
    """Train the found, the plain and a random detector for the same epochs, and compare them.

    Args:
        study: Config, data and run.
        found: Architecture that was found.
        title: Heading of the page.
        search: Section of the page about the search.
        more: Metrics of the search.
        starts: Further detectors to train from the weights that they have, by name.
    """
    space, config, run = found.space, study.config, study.run
    write_architecture(run.path("architecture.json"), found)
    run.print(found.table())
    contenders = {
        "found": found,
        "plain": FoundArchitecture(space, plain_choices(space)),
        "random": random_architecture(space, config.seed + 1),
    }
    histories = {}
    for name in (*contenders, *starts):
        torch.manual_seed(config.seed)
        names = study.data.names
        detector = contenders[name].detector(names) if name in contenders else starts[name]
        histories[name] = list(study.train(detector, name).history)
    write_histories(run, histories)
    measured = study.measure(list(histories))
    figure = plot_architecture(found)
    caption = "Choices of each row, colored where they differ from the plain ones"
    pictures = (picture(run, "architecture", figure, caption),)
    return Report(
        title,
        f"{', '.join(histories).capitalize()}: detectors trained for {config.epochs} epochs each, "
        f"on {measured.images}.",
        (measured.table,),
        (
            measured.section(run),
            search,
            Section("The architecture", tables=(found.table(),), pictures=pictures),
            study.training(histories),
        ),
        {**measured.metrics(), **more},
    )
