"""Weights from files: plain tensors only, every name and shape compared.

Public YOLOv5 checkpoints are pickled modules, which run code of the file when they are read; they
are refused, with the line that turns one into a plain tensor file.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

CONVERT = (
    "python -c \"import torch; m = torch.load('yolov5n.pt', weights_only=False)['model']; "
    "torch.save(m.float().state_dict(), 'yolov5n_tensors.pt')\""
)
"""What makes a plain tensor file of a public checkpoint, run in a YOLOv5 checkout you trust."""

_IGNORED = ("anchor_grid",)
_SHOWN = 8


class WeightsError(ValueError):
    """A file is no plain tensor file, or its tensors do not fit the model."""


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Attributes:
        loaded: Names whose tensors came from the file.
        missing: Names of the model that the file lacks.
        unexpected: Names of the file that the model lacks.
        misshaped: (name, shape in the file, shape in the model).
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model came from the file."""
        return not (self.missing or self.misshaped)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded"]
        shapes = [
            f"{name} is {_shape(there)} there, {_shape(here)} here"
            for name, there, here in self.misshaped
        ]
        for title, names in (
            ("missing in the file", self.missing),
            ("unknown to the model", self.unexpected),
            ("of another shape", shapes),
        ):
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"{len(names)} {title}: {', '.join(names[:_SHOWN])}{more}")
        return "; ".join(lines)


def read_plain(path: str | Path) -> Any:
    """What `torch.save` wrote, if it is tensors, containers and plain values alone.

    Raises:
        WeightsError: No such file, it holds pickled objects, or it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # a foreign file: what it is, is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: it holds pickled Python objects, which would run code when read. Make a "
            f"plain tensor file of it where you trust it: {CONVERT}"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: it cannot be read ({str(error).splitlines()[0]})") from None


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a file that `torch.save` made of a state_dict.

    Raises:
        WeightsError: No such file, a pickled module, or no mapping of names to tensors.
    """
    content = read_plain(path)
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise WeightsError(f"{path}: it holds no tensors by name; save a model's state_dict()")
    return {str(name): value for name, value in content.items() if not str(name).endswith(_IGNORED)}


def load_weights(
    model: nn.Module, source: str | Path | Mapping[str, torch.Tensor], partial: bool = False
) -> LoadReport:
    """Load a file, or tensors by name, into a model.

    Args:
        model: The model; untouched where an error is raised.
        source: The file, or the tensors.
        partial: Leave what does not fit as it is, to start from a detector of other classes, say.

    Raises:
        WeightsError: Names or shapes differ and `partial` is off, or nothing fits at all.
    """
    name = "the given tensors" if isinstance(source, Mapping) else str(source)
    tensors = source if isinstance(source, Mapping) else read_tensors(source)
    own = model.state_dict()
    misshaped = tuple(
        (key, tuple(tensors[key].shape), tuple(own[key].shape))
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    )
    bad = {key for key, *_ in misshaped}
    report = LoadReport(
        loaded=tuple(key for key in own if key in tensors and key not in bad),
        missing=tuple(key for key in own if key not in tensors),
        unexpected=tuple(key for key in tensors if key not in own),
        misshaped=misshaped,
    )
    if not report.loaded:
        raise WeightsError(f"{name}: no tensor fits the model ({report}); is it another model's?")
    if not partial and (report.unexpected or not report.complete):
        raise WeightsError(
            f"{name}: it does not fit the model ({report}). Build the model that it was saved "
            "from, or load what fits (partial)"
        )
    model.load_state_dict({key: tensors[key] for key in report.loaded}, strict=False)
    return report


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
