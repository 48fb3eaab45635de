"""Private names of torch-pruning, and of the PyTorch graph that it walks."""

from __future__ import annotations

from tfcompress.internals.names import InnerName, PrivateAttribute

_PACKAGE, _V = "torch-pruning", "1.6.1"

INDEX = InnerName(
    _PACKAGE,
    "torch_pruning._helpers",
    "_HybridIndex",
    "follow every channel through the mappings between layers",
    _V,
)
KINDS = InnerName(
    _PACKAGE, "torch_pruning.ops", "OPTYPE", "tell concatenations and outputs from the rest", _V
)
CONCAT_AXIS = PrivateAttribute(
    ("torch",), "gradient of a concatenation", "_saved_dim", "know the axis of a concatenation",
    "2.13.0",
)  # fmt: skip
