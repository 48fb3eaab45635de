"""Whether Linux granted AMX to a process is its own word, before and after an int8 model ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes
from tfcompress import startup
import keras
import numpy as np
import tfcompress as tfc
from tfcompress.litert.amx import has_amx

tile_data, get_permission, arch_prctl = 18, 0x1022, 158
layers = [keras.layers.Conv2D(64, 3), keras.layers.Conv2D(64, 3)]
model = keras.Sequential([keras.Input((16, 16, 64)), *layers])
images = np.random.default_rng(0).random((100, 16, 16, 64), dtype=np.float32)
(latency,) = tfc.measure_latency([tfc.to_litert(model, "int8", images)], repeats=3)
granted = ctypes.c_uint64()
ctypes.CDLL(None).syscall(arch_prctl, get_permission, ctypes.byref(granted))
print(bool(granted.value >> tile_data & 1), has_amx(), latency.runtime)
"""


def run(**variables):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    granted, has, runtime = done.stdout.strip().split(" ", 2)
    return granted == "True", has == "True", runtime


def test_litert_runs_without_amx_where_that_is_wanted():
    assert run(TFCOMPRESS_AMX="0") == (False, False, "LiteRT XNNPACK")


def test_litert_takes_amx_otherwise_and_the_latency_says_so():
    if "amx_int8" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AMX")
    assert run(TFCOMPRESS_AMX="") == (True, True, "LiteRT XNNPACK with AMX")
