"""Load weights from files of plain tensors, and compare every name and shape.

Public YOLOv5 checkpoints are pickled modules, which run code from the file when they are read. They
are refused; the error gives the command that converts one to a plain tensor file.
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
"""Command that converts a public checkpoint to a plain tensor file, in a YOLOv5 checkout."""

_IGNORED = ("anchor_grid",)
_SHOWN = 8


class WeightsError(ValueError):
    """A file is not a plain tensor file, or its tensors do not match the model."""


@dataclass(frozen=True)
class LoadReport:
    """The result of loading weights.

    Attributes:
        loaded: Names of the tensors that were loaded.
        missing: Names of the model's tensors that the file lacks.
        unexpected: Names of the file's tensors that the model lacks.
        misshaped: Tensors whose shapes differ, each as (name, shape in the file, shape in the
            model).
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
            f"{name} is {_shape(there)} in the file, {_shape(here)} in the model"
            for name, there, here in self.misshaped
        ]
        for title, names in (
            ("missing in the file", self.missing),
            ("unknown to the model", self.unexpected),
            ("of a different shape", shapes),
        ):
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"{len(names)} {title}: {', '.join(names[:_SHOWN])}{more}")
        return "; ".join(lines)


def read_plain(path: str | Path) -> Any:
    """Read a file of `torch.save` that holds only tensors, containers and plain values.

    Raises:
        WeightsError: The file does not exist, holds pickled objects, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # errors below describe the file
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: it holds pickled Python objects, which would run code when read. Convert it "
            f"to a plain tensor file where you trust it: {CONVERT}"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: it cannot be read ({str(error).splitlines()[0]})") from None


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a state_dict that `torch.save` wrote, by name.

    Raises:
        WeightsError: The file does not exist, holds a pickled module, or does not hold a mapping
            from names to tensors.
    """
    content = read_plain(path)
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise WeightsError(f"{path}: it does not hold tensors by name; save a model's state_dict()")
    return {str(name): value for name, value in content.items() if not str(name).endswith(_IGNORED)}


def load_weights(
    model: nn.Module, source: str | Path | Mapping[str, torch.Tensor], partial: bool = False
) -> LoadReport:
    """Load a file, or tensors by name, into a model.

    Args:
        model: Model to load into; unchanged if an error is raised.
        source: Path of the file, or tensors by name.
        partial: Whether to load only the tensors that match and leave the others unchanged, for
            example to start from a detector with other classes.

    Returns:
        A report of the tensors that were loaded, missing, unexpected or of another shape.

    Raises:
        WeightsError: Names or shapes differ and `partial` is off, or no tensor matches.
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
        raise WeightsError(
            f"{name}: no tensor matches the model ({report}); give weights of this architecture"
        )
    if not partial and (report.unexpected or not report.complete):
        raise WeightsError(
            f"{name}: it does not match the model ({report}). Build the model that it was saved "
            "from, or load only the tensors that match (partial)"
        )
    model.load_state_dict({key: tensors[key] for key in report.loaded}, strict=False)
    return report


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
