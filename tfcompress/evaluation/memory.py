"""Peak memory of a LiteRT file, measured in a process of its own.

A process' memory has Python and NumPy in it, and what earlier work left behind; in a new one the
difference between its peak and what it held before is the interpreter's: the pages of the file that
are read, the arena of activations, and the weights that kernels pack for themselves.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tfcompress.errors import CompressionError
from tfcompress.litert.model import LiteModel

_STATUS = Path("/proc/self/status")

# VmHWM is the peak, "5" in clear_refs sets it back to the present size (Linux, proc(5)).
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
    """Bytes that loading the file and one inference take at their peak.

    Args:
        lite: The file.
        threads: Of LiteRT.

    Returns:
        The bytes; None where the system does not tell (it is read from Linux' /proc).

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
        raise CompressionError("memory", f"the file did not run ({last})", "convert it anew")
    return int(done.stdout)
