"""Teachers from PyTorch and ONNX for `tfcompress.Distiller`.

```python
teacher = onnx_teacher("resnet.onnx")
distiller = tfc.Distiller(teacher, student, [tfc.SoftTargets(4.0)])
distiller.compile("adam", "sparse_categorical_crossentropy")
distiller.fit(images, labels)
```

A teacher takes the student's batch, (B, H, W, C), and gives logits (B, classes). It runs outside
TensorFlow's graph, without gradients. If the data does not change between epochs,
`tfcompress.store_teacher` computes its outputs once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bridges.handover.onnx_model import OnnxModel
from tfcompress.errors import ConfigError, DataError

Preprocess = Callable[[np.ndarray], np.ndarray]


class OutsideTeacher:
    """A callable from a batch, channels last, to logits, that runs outside of TensorFlow.

    Args:
        name: Name in error messages.
        run: Function from images (B, C, H, W) float32 to logits (B, classes).
        classes: Number of classes of the logits.
        shape: Image shape (H, W, C); None for dynamic sizes.
        preprocess: Function from the student's batch (B, H, W, C) to the teacher's preprocessing,
            also channels last, such as another scaling.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[np.ndarray], np.ndarray],
        classes: int,
        shape: tuple[int, int, int] | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        self.__name__ = name
        self.classes = classes
        self.shape = shape
        self._run, self._preprocess = run, preprocess

    def __call__(self, inputs: Any) -> Any:
        """Logits of a batch, inside `fit` or outside.

        Raises:
            DataError: The batch or the logits have the wrong shape.
        """
        import tensorflow as tf

        logits = tf.numpy_function(self.logits, [inputs], tf.float32, stateful=False)
        logits.set_shape((None, self.classes))
        return logits

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits of a batch (B, H, W, C), in NumPy.

        Raises:
            DataError: See `__call__`.
        """
        if self._preprocess is not None:
            images = self._preprocess(images)
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or self.shape not in (None, images.shape[1:]):
            wanted = "(H, W, C)" if self.shape is None else self.shape
            raise DataError(
                f"teacher {self.__name__!r}",
                f"it takes images of {wanted}, and the batch has shape {images.shape}",
                "give data of its size, or preprocess= that makes it",
            )
        said = np.asarray(self._run(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
        if said.shape != (len(images), self.classes):
            raise DataError(
                f"teacher {self.__name__!r}",
                f"it gives {said.shape} for {len(images)} images, not {self.classes} classes",
                f"give classes={said.shape[-1] if said.ndim else 0} and a student of as many, or "
                "another teacher",
            )
        return said.astype(np.float32)


def onnx_teacher(
    source: OnnxModel | str | Path,
    classes: int | None = None,
    preprocess: Preprocess | None = None,
) -> OutsideTeacher:
    """A classifier's ONNX file as a teacher.

    Args:
        source: ONNX file or model, from images (B, C, H, W) to logits (B, classes). A dynamic
            batch is faster.
        classes: Number of the student's classes; default: the file's.
        preprocess: See `OutsideTeacher`.

    Raises:
        DataError: The file is broken, or its inputs or classes do not fit.
    """
    model = source if isinstance(source, OnnxModel) else OnnxModel.load(source)
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise DataError(
            model.source,
            f"its inputs are {', '.join(str(port.shape) for port in model.inputs)}",
            "give a classifier of images (B, C, H, W)",
        )
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        raise DataError(
            model.source,
            f"its outputs are {', '.join(str(port.shape) for port in model.outputs)}",
            "give a classifier that ends in logits (B, classes)",
        )
    _, channels, height, width = model.inputs[0].shape
    own = model.outputs[0].shape[1]
    if own is None:
        raise DataError(model.source, "it does not say how many classes it has", "export it again")
    _check_classes(model.source, own, classes)
    if model.proto.graph.node[-1].op_type in ("Softmax", "LogSoftmax"):
        raise DataError(
            model.source,
            f"it ends in {model.proto.graph.node[-1].op_type}, and distillation needs logits",
            "export it without its last layer",
        )
    (output,) = model.outputs
    fixed = None if None in (height, width, channels) else (height, width, channels)
    return OutsideTeacher(
        Path(model.source).name,
        lambda images: model.predict(images)[output.name],
        own,
        fixed,
        preprocess,
    )


def torch_teacher(
    module: nn.Module,
    shape: tuple[int, int, int],
    classes: int | None = None,
    preprocess: Preprocess | None = None,
) -> OutsideTeacher:
    """A PyTorch classifier as a teacher, on its own device, in evaluation mode.

    Args:
        module: Module from images (B, C, H, W) to logits (B, classes); it is in evaluation mode
            while it runs, and restored afterwards.
        shape: Image shape (H, W, C).
        classes: Number of the student's classes; default: the module's.
        preprocess: See `OutsideTeacher`.

    Raises:
        DataError: The module returns no logits, or logits of another number of classes.
    """
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))

    def run(images: np.ndarray) -> np.ndarray:
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            with torch.inference_mode():
                said = module(torch.from_numpy(images).to(device))
        finally:
            for part, mode in modes:
                part.training = mode
        return said.cpu().numpy() if isinstance(said, torch.Tensor) else np.zeros(0)

    height, width, channels = shape
    said = run(np.zeros((1, channels, height, width), np.float32))
    name = type(module).__name__
    if said.ndim != 2:
        raise DataError(
            f"teacher {name!r}", "it gives no tensor (B, classes)", "give a classifier's module"
        )
    _check_classes(f"teacher {name!r}", said.shape[1], classes)
    return OutsideTeacher(name, run, said.shape[1], shape, preprocess)


def _check_classes(where: str, own: int, wanted: int | None) -> None:
    if wanted not in (None, own):
        raise ConfigError(
            where, f"it has {own} classes, and {wanted} are wanted", "give a teacher of as many"
        )
