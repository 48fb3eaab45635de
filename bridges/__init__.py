"""The PyTorch side: detectors, their search and compression, and models handed across."""

from importlib.util import find_spec

_MISSING = [name for name in ("torch", "onnx") if find_spec(name) is None]
if _MISSING:
    _names = " and ".join(_MISSING)
    raise ModuleNotFoundError(
        f"bridges: {_names} cannot be imported. Fix: pip install 'tfcompress[bridge]'"
    )
