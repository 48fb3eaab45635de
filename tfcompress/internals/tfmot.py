"""Inner names of TensorFlow Model Optimization; load it with `twin.legacy.load_tfmot` first.

Its import changes the environment, and `load_tfmot` puts that back.
"""

from __future__ import annotations

from tfcompress.internals.names import InnerName, PrivateAttribute

_PACKAGE, _V = "tensorflow-model-optimization", "0.8.1"
_CORE = "tensorflow_model_optimization.python.core"

PRUNE_REGISTRY = InnerName(
    _PACKAGE,
    f"{_CORE}.sparsity.keras.prune_registry",
    "PruneRegistry",
    "know which layers TFMOT prunes",
    _V,
)
CLUSTERING_REGISTRY = InnerName(
    _PACKAGE,
    f"{_CORE}.clustering.keras.clustering_registry",
    "ClusteringRegistry",
    "know which layers TFMOT clusters",
    _V,
)
WEIGHTS_OF_LAYERS = PrivateAttribute(
    (_PACKAGE,),
    "registry of layers",
    "_LAYERS_WEIGHTS_MAP",
    "know which weights of a layer TFMOT prunes or clusters",
    _V,
)
CLUSTER_WEIGHTS = InnerName(
    _PACKAGE,
    f"{_CORE}.clustering.keras.cluster_wrapper",
    "ClusterWeights",
    "cluster a convolution channel by channel",
    _V,
)
_8BIT = f"{_CORE}.quantization.keras.default_8bit"
QUANTIZE_REGISTRY = InnerName(
    _PACKAGE,
    f"{_8BIT}.default_8bit_quantize_registry",
    "Default8BitQuantizeRegistry",
    "know which layers TFMOT quantizes",
    _V,
)
OUTPUT_CONFIG = InnerName(
    _PACKAGE,
    f"{_8BIT}.default_8bit_quantize_configs",
    "Default8BitOutputQuantizeConfig",
    "quantize the output of a layer alone",
    _V,
)
NO_CONFIG = InnerName(
    _PACKAGE,
    f"{_8BIT}.default_8bit_quantize_configs",
    "NoOpQuantizeConfig",
    "leave a layer that only passes quantized values on",
    _V,
)
