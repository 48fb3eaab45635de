"""Weights of torchvision's ShuffleNetV2 and ResNet in Keras models, by name and shape.

```python
report = load_torchvision(shufflenet_v2(1000, 224, 224, scale=1.0), "shufflenetv2_x1.pt")
resnet = torchvision_resnet(keras.applications.ResNet50(weights=None))
report = load_torchvision(resnet, "resnet50.pt", partial=True)      # what fits, the rest is listed
```

The file is what `torch.save(model.state_dict(), path)` writes. Names are those of torchvision;
nothing of it is needed. A Keras model with these weights gives PyTorch's outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.yolov5.weights import LoadReport, WeightsError, read_tensors
from tfcompress.errors import DataError, LayerError

_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_SHUFFLE_BRANCHES = {
    "branch1.0": "left_depthwise",
    "branch1.1": "left_depthwise_norm",
    "branch1.2": "left_point",
    "branch1.3": "left_point_norm",
    "branch2.0": "point1",
    "branch2.1": "point1_norm",
    "branch2.3": "depthwise",
    "branch2.4": "depthwise_norm",
    "branch2.5": "point2",
    "branch2.6": "point2_norm",
}
"""Modules of a unit in torchvision, and the ends of our layers' names."""
_UNITS, _BLOCKS = 8, 36
"""The most units of a stage of ShuffleNetV2, and blocks of one of ResNet, that are looked for."""


def load_torchvision(
    model: Any, source: str | Path | Mapping[str, torch.Tensor], partial: bool = False
) -> LoadReport:
    """Put a state_dict of torchvision into a Keras model.

    Args:
        model: `models.shufflenet_v2.shufflenet_v2(...)` or what `torchvision_resnet` makes; left as
            it is where an error is raised.
        source: A plain tensor file, or tensors by name.
        partial: Leave what is missing or has another shape as it is: a head of other classes, a
            truncated network.

    Returns:
        What was loaded, missing, unexpected, and of another shape, by torchvision's names; shapes
        are Keras'.

    Raises:
        DataError: The file is no plain tensor file, or it does not fit and `partial` is off.
        LayerError: The model is neither of these networks.
    """
    name = "the given tensors" if isinstance(source, Mapping) else str(source)
    if isinstance(source, Mapping):
        tensors = dict(source)
    else:
        try:
            tensors = read_tensors(source)
        except WeightsError as error:
            raise DataError(
                name,
                str(error).removeprefix(f"{name}: ").split(";")[0],
                "give what torch.save(model.state_dict(), path) writes",
            ) from None
    tensors = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    wanted = _variables(model)
    arrays = {k: _as_keras(tensors[k], variable) for k, variable in wanted.items() if k in tensors}
    misshaped = tuple(
        (key, array.shape, tuple(wanted[key].shape))
        for key, array in arrays.items()
        if array.shape != tuple(wanted[key].shape)
    )
    bad = {key for key, *_ in misshaped}
    report = LoadReport(
        loaded=tuple(key for key in arrays if key not in bad),
        missing=tuple(key for key in wanted if key not in arrays),
        unexpected=tuple(key for key in tensors if key not in wanted),
        misshaped=misshaped,
    )
    if not report.loaded or not (partial or (report.complete and not report.unexpected)):
        raise DataError(
            name,
            f"it does not fit model {model.name!r} ({report})",
            "give the weights of the same network, or load what fits: partial=True",
        )
    for key in report.loaded:
        wanted[key].assign(arrays[key])
    for layer in model.layers:
        loaded = any(wanted[key] is _kernel(layer) for key in report.loaded)
        if loaded and getattr(layer, "bias", None) is not None and "_conv" in layer.name:
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))  # torchvision has none
    return report


def torchvision_resnet(model: Any) -> Any:
    """A Keras ResNet50, 101 or 152 as torchvision builds it, weights carried.

    `keras.applications` halves the size in the first 1x1 convolution of a stage, as the paper does,
    and torchvision in its 3x3 convolution ("v1.5"), padded on every side; its normalization adds
    1e-5 instead of 1.001e-5.

    Args:
        model: Model of `keras.applications`; it is not changed.

    Raises:
        LayerError: The model is not one of these.
    """
    import keras

    _check_resnet(model)
    pairs = []

    def fresh(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["epsilon"] = 1e-5
        if _halves(layer.name, 1):
            config["strides"] = (1, 1)
        if _halves(layer.name, 2):
            config.update(strides=(2, 2), padding="valid")
        new = type(layer).from_config(config)
        pairs.append((layer, new))
        return new

    def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if _halves(layer.name, 2):
            x = keras.layers.ZeroPadding2D(1, name=layer.name.replace("_conv", "_pad"))(x)
        return layer(x, *args, **kwargs)

    new = keras.models.clone_model(model, clone_function=fresh, call_function=call)
    for old, made in pairs:
        made.set_weights(old.get_weights())
    return new


def _halves(name: str, position: int) -> bool:
    """Whether a layer is a convolution where one of the two kinds of ResNet halves the size."""
    return name in [f"conv{stage}_block1_{position}_conv" for stage in (3, 4, 5)]


def _check_resnet(model: Any) -> None:
    names = {layer.name for layer in model.layers}
    if not {"conv1_conv", "conv5_block1_3_conv", "conv5_block1_0_bn"} <= names:
        raise LayerError(
            f"model {model.name!r}",
            "it has not the layers of keras.applications' ResNet50, 101 or 152",
            "give one of these",
        )


def _variables(model: Any) -> dict[str, Any]:
    """Keras' variable of each tensor, by torchvision's name.

    Raises:
        LayerError: The model is none of the networks that are known.
    """
    layers = {layer.name: layer for layer in model.layers}
    if "stage2_1_left_depthwise" in layers:
        modules = _shufflenet_modules()
    else:
        _check_resnet(model)
        first = layers["conv3_block1_1_conv"]
        if tuple(first.strides) != (1, 1):
            raise LayerError(
                f"model {model.name!r}, layer {first.name!r}",
                "it halves the size where torchvision's 3x3 convolution does",
                "load into torchvision_resnet(model)",
            )
        modules = _resnet_modules()
    found: dict[str, Any] = {}
    for module, name in modules.items():
        layer = layers.get(name)
        if layer is None:
            continue
        if hasattr(layer, "moving_mean"):
            found |= {f"{module}.{key}": getattr(layer, role) for key, role in _NORM.items()}
            continue
        found[f"{module}.weight"] = _kernel(layer)
        if module == "fc":
            found[f"{module}.bias"] = layer.bias
    return found


def _shufflenet_modules() -> dict[str, str]:
    """Our layer of each module of torchvision's ShuffleNetV2."""
    modules = {
        "conv1.0": "stem",
        "conv1.1": "stem_norm",
        "conv5.0": "conv5",
        "conv5.1": "conv5_norm",
        "fc": "head",
    }
    for stage in (2, 3, 4):
        for unit in range(_UNITS):
            for module, end in _SHUFFLE_BRANCHES.items():
                modules[f"stage{stage}.{unit}.{module}"] = f"stage{stage}_{unit + 1}_{end}"
    return modules


def _resnet_modules() -> dict[str, str]:
    """Keras' layer of each module of torchvision's ResNet with bottlenecks."""
    modules = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}
    for stage in (1, 2, 3, 4):
        for block in range(_BLOCKS):
            there, here = f"layer{stage}.{block}", f"conv{stage + 1}_block{block + 1}"
            for i in (1, 2, 3):
                modules[f"{there}.conv{i}"] = f"{here}_{i}_conv"
                modules[f"{there}.bn{i}"] = f"{here}_{i}_bn"
            modules[f"{there}.downsample.0"] = f"{here}_0_conv"
            modules[f"{there}.downsample.1"] = f"{here}_0_bn"
    return modules


def _kernel(layer: Any) -> Any:
    """The kernel of a convolution or a Dense layer; tf_keras names a depthwise one apart."""
    depthwise = getattr(layer, "depthwise_kernel", None)
    return getattr(layer, "kernel", None) if depthwise is None else depthwise


def _as_keras(tensor: torch.Tensor, variable: Any) -> np.ndarray:
    """PyTorch's axes in Keras' order: (O, I, H, W) to (H, W, I, O), for depthwise (H, W, O, 1)."""
    array = tensor.detach().cpu().float().numpy()
    if array.ndim == 2:
        return array.T
    if array.ndim != 4:
        return array
    depthwise = array.shape[1] == 1 and tuple(variable.shape)[-1] == 1
    return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
