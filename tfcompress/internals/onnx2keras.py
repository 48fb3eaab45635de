"""Inner names of onnx2keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from tfcompress.internals.names import InnerName

_PACKAGE, _V = "onnx2keras", "0.0.25"

CONVERTERS = InnerName(
    _PACKAGE,
    "onnx2keras.layers",
    "AVAILABLE_CONVERTERS",
    "put its own converters of operators in the place of some",
    _V,
)
CONVERT = InnerName(_PACKAGE, "onnx2keras.converter", "onnx_to_keras", "convert an ONNX graph", _V)
ITS_KERAS = InnerName(
    _PACKAGE, "onnx2keras.converter", "keras", "see which Keras onnx2keras builds with", _V
)


@contextmanager
def with_converters(table: Mapping[str, Callable[..., None]]) -> Iterator[None]:
    """Let onnx2keras use these converters by operator inside the block, and its own after it."""
    with mock.patch.dict(CONVERTERS.get(), table):
        yield
