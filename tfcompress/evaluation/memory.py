"""Peak memory of a LiteRT file, measured in a process of its own.

A process also holds Python, NumPy and whatever earlier work left in memory. In a new process, the
difference between the peak and the memory before loading is due to the interpreter: the pages of
the file that are read, the activation arena, and the weights that kernels repack.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tfcompress.errors import CompressionError
from tfcompress.evaluation import memory_worker
from tfcompress.isolation.program import run_program
from tfcompress.litert.model import LiteModel

_STATUS = Path("/proc/self/status")


def measure_memory(lite: LiteModel, threads: int = 1) -> int | None:
    """Measure the peak memory of loading a LiteRT file and running one inference.

    Peak memory is reported on Linux only, where it is read from `/proc`.

    Args:
        lite: LiteRT model to measure.
        threads: Number of threads of the LiteRT interpreter.

    Returns:
        Peak memory in bytes; None on systems other than Linux.

    Raises:
        CompressionError: The file does not run.
    """
    if not _STATUS.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(lite.content)
        done = run_program(memory_worker.__file__, [str(path), str(threads)])
    if done.problem:
        raise CompressionError(
            "memory", f"the LiteRT file did not run ({done.last_words})", "convert the model again"
        )
    return int(done.output)
