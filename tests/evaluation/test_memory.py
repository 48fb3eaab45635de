"""Peak memory of LiteRT files: at least their weights, and it grows with them."""

import sys
from dataclasses import replace

import keras
import pytest

from tfcompress.errors import CompressionError
from tfcompress.evaluation.memory import measure_memory
from tfcompress.litert.model import to_litert

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is read from Linux' /proc")


def dense(width):
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(width, use_bias=False)])
    return to_litert(model)


def test_memory_grows_by_what_the_weights_grow():
    small, large = measure_memory(dense(500)), measure_memory(dense(2000))
    weights = 4 * (2000**2 - 500**2)  # 15 MB of float32 more
    assert small > 4 * 500**2
    # They are mapped from the file, and XNNPACK packs a copy for itself.
    assert weights < large - small < 2.2 * weights


def test_a_file_that_does_not_run():
    broken = replace(dense(4), content=b"no model")
    with pytest.raises(
        CompressionError, match="memory: the LiteRT file did not run .*convert the model again"
    ):
        measure_memory(broken)
