"""Peak memory of a LiteRT file, measured in a process of its own.

A process also holds Python, NumPy and whatever earlier work left in memory. In a new process, the
difference between the peak and the memory before loading is due to the interpreter: the pages of
the file that are read, the activation arena, and the weights that kernels repack.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tfcompress.errors import CompressionError
from tfcompress.litert.model import LiteModel

_STATUS = Path("/proc/self/status")

# VmHWM is the peak; writing "5" to clear_refs resets it to the current size (Linux, proc(5)).
_CHILD = """
import sys
from pathlib import Path
import numpy
from ai_edge_litert.interpreter import Interpreter

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
for port in interpreter.get_input_details():
    interpreter.set_tensor(port["index"], numpy.zeros(port["shape"], port["dtype"]))
interpreter.invoke()
print(1024 * (kilobytes("VmHWM") - before))
"""


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
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(path), str(threads)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CompressionError(
            "memory", f"the LiteRT file did not run ({last})", "convert the model again"
        )
    return int(done.stdout)
