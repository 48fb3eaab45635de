"""Prints the peak memory of one inference; `memory.py` runs this file in a process of its own.

It imports nothing of this package, so that little else is in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Load the LiteRT file of the command line and run it once with so many threads."""
    from ai_edge_litert.interpreter import Interpreter

    # "5" sets the peak (VmHWM) back to the present size (Linux, proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    before = _bytes("VmRSS")
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
    interpreter.allocate_tensors()
    for port in interpreter.get_input_details():
        interpreter.set_tensor(port["index"], np.zeros(port["shape"], port["dtype"]))
    interpreter.invoke()
    print(_bytes("VmHWM") - before)


def _bytes(name: str) -> int:
    """A size of this process, as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
