"""The PyTorch side: detectors, their search and compression, and models handed across."""

from importlib.util import find_spec

for _name in ("torch", "onnx"):
    if find_spec(_name) is None:  # not imported: torch takes seconds, and not all of it needs torch
        raise ModuleNotFoundError(
            f"bridges: {_name} cannot be imported. Fix: pip install 'tfcompress[bridge]'"
        )
