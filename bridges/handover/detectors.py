"""Detectors that run as ONNX or LiteRT files: decoding in NumPy, then the bridge's suppression.

```python
detector = LiteDetector.load("detector-int8.tflite")
score = evaluate_detector(detector, data.splits["test"], data.names, detector.spec.side)
```
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bridges.handover import HEADS
from bridges.handover.heads import HeadSpec
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.parity import TO_NCHW
from tfcompress import LiteModel
from tfcompress.errors import DataError
from tfcompress.evaluation.latency import Runner
from tfcompress.short_repr import short_repr

TO_NHWC = tuple(int(i) for i in np.argsort(TO_NCHW["NHWC"]))


class FileDetector(ABC):
    """Base of the detectors that run as files.

    Called with images (B, 3, S, S) in [0, 1] it gives (B, boxes, 5 + classes), pixels and
    probabilities, as `models.yolov5`'s `Detector.decode` does; so it goes into `evaluate_detector`.

    Attributes:
        spec: Rules for decoding the output maps.
    """

    spec: HeadSpec

    @abstractmethod
    def maps(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """(B, 3, S, S) to maps (B, h, w, channels) by output name, in real numbers."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images to decoded boxes."""
        return torch.from_numpy(self.spec.decode(self.maps(images.cpu().numpy())))


@short_repr
@dataclass(frozen=True)
class OnnxDetector(FileDetector):
    """A detector of `export_detector`, by onnxruntime.

    Attributes:
        model: The graph.
        spec: Rules for decoding the output maps.
    """

    model: OnnxModel
    spec: HeadSpec

    @classmethod
    def load(cls, path: str | Path) -> OnnxDetector:
        """Read a file of `export_detector`.

        Raises:
            DataError: No such file, a broken one, or one that does not say how to decode.
        """
        return cls.of(OnnxModel.load(path))

    @classmethod
    def of(cls, model: OnnxModel) -> OnnxDetector:
        """Wrap a graph that has been read.

        Raises:
            DataError: It does not say how to decode.
        """
        if HEADS not in model.metadata:
            raise DataError(
                model.source,
                "it does not say how its maps become boxes",
                "write it with bridges.handover.export.export_detector",
            )
        return cls(model, HeadSpec.from_json(model.metadata[HEADS], model.source))

    def maps(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Images to maps, channels last."""
        said = self.model.predict(images)
        return {name: array.transpose(TO_NHWC) for name, array in said.items()}

    def runner(self, threads: int) -> Runner:
        """A function that runs the graph on one random image, without decoding, for timing."""
        return onnx_runner(self.model, threads)


@short_repr
@dataclass(frozen=True)
class LiteDetector(FileDetector):
    """A detector as a LiteRT file, by LiteRT's interpreter.

    Attributes:
        model: The file; its outputs are in the order of `spec.outputs`.
        spec: Rules for decoding the output maps.
        threads: Number of threads of the interpreter.
    """

    model: LiteModel
    spec: HeadSpec
    threads: int = 2

    @classmethod
    def load(cls, path: str | Path, threads: int = 2) -> LiteDetector:
        """Read a file of `save`.

        Raises:
            DataError: No such file, or one that does not say how to decode.
        """
        model = LiteModel.load(path)
        if HEADS not in model.card:
            raise DataError(
                str(path),
                "it does not say how its maps become boxes",
                "write it with LiteDetector.save",
            )
        return cls(model, HeadSpec.from_json(model.card[HEADS], str(path)), threads)

    def save(self, path: str | Path) -> None:
        """Write the file; its card says how to decode it."""
        self.model.with_card({**self.model.card, HEADS: self.spec.to_json()}).save(path)

    def maps(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Images to maps."""
        batch = np.ascontiguousarray(images.transpose(TO_NHWC))
        said = self.model.predict(batch, threads=self.threads)
        listed = said if isinstance(said, list) else [said]
        return dict(zip(self.spec.outputs, listed, strict=True))


def onnx_runner(model: OnnxModel, threads: int) -> Runner:
    """A function that runs a graph on random inputs (batch 1 if dynamic), for timing."""
    session, generator = model.new_session(threads), np.random.default_rng(0)
    feed = {
        port.name: generator.random([size or 1 for size in port.shape]).astype(port.dtype)
        for port in model.inputs
    }
    batch = model.inputs[0].shape[0] or 1
    return Runner(lambda: session.run(None, feed), threads, batch, "onnxruntime")
