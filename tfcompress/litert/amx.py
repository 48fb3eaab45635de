"""Intel's AMX: LiteRT's int8 kernels for it are fast with many channels and slow with few.

A tile is 16 rows of 64 bytes even if a layer has fewer channels, so a layer of eight channels takes
the time of a full tile. Linux grants AMX to a process that asks for it. If the request is refused,
LiteRT uses AVX512-VNNI, whose vectors waste less. LiteRT asks when it first runs.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from pathlib import Path

_ARCH_PRCTL = 158
_GET_PERMISSION, _REQUEST_PERMISSION = 0x1022, 0x1023
_TILE_DATA = 18
_STACK_BYTES = 8192
_kept: list[object] = []  # the small stack, which must live as long as the process


class _Stack(ctypes.Structure):
    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def has_amx() -> bool:
    """Whether the CPU has AMX for int8, and Linux would grant it to this process."""
    return _cpu_has_amx() and not _refused()


def refuse_amx() -> bool:
    """Make LiteRT run without AMX in this process. Call it before the first LiteRT model runs.

    Linux refuses AMX to a process with a signal stack too small for its registers; the main thread
    gets such a stack, of 8 KiB. `faulthandler.enable()` afterwards would replace it.

    Returns:
        Whether AMX is refused from now on; False if it is in use already, or the CPU has none.
    """
    if not _cpu_has_amx() or _granted():
        return False
    if not _kept:
        buffer = ctypes.create_string_buffer(_STACK_BYTES)
        stack = _Stack(ctypes.cast(buffer, ctypes.c_void_p), 0, _STACK_BYTES)
        if ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0:
            _kept.append(buffer)
    return _refused()


@cache
def _cpu_has_amx() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return "amx_int8" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")


def _refused() -> bool:
    """Whether a request would fail; nothing is requested unless the small stack is set."""
    return bool(_kept) and _arch_prctl(_REQUEST_PERMISSION, _TILE_DATA) != 0


def _granted() -> bool:
    permitted = ctypes.c_uint64()
    _arch_prctl(_GET_PERMISSION, ctypes.addressof(permitted))
    return bool(permitted.value >> _TILE_DATA & 1)


def _arch_prctl(code: int, argument: int) -> int:
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(_ARCH_PRCTL, ctypes.c_long(code), ctypes.c_void_p(argument)))
