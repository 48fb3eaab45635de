"""The machine and the code that a result comes from: processor, memory, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = (
    "tensorflow", "keras", "tf_keras", "tensorflow-model-optimization", "ai-edge-litert", "torch",
    "torch-pruning", "keras-tuner", "nni", "onnx", "onnxruntime", "numpy", "tfcompress",
)  # fmt: skip
"""Packages whose version a result depends on."""

INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "int8 matrix multiplication",
    "sve": "SVE",
}
"""Flags of /proc/cpuinfo that decide how fast float32 and int8 kernels are, with their names."""

# What git is asked about: code and settings. A record or a page that a benchmark has just written
# does not make its code another one.
_CODE = ("*.py", "*.js", "*.jinja", "*.yaml", "*.yml", "*.toml", "requirements*.txt", "Makefile")
_CPUINFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Machine:
    """The computer that a result was measured on.

    Attributes:
        processor: Model name, as the operating system reports it.
        cores: Number of logical CPUs that the process may use.
        instruction_sets: Flags of `INSTRUCTION_SETS` that the processor has.
        memory_bytes: Size of the main memory; None where it cannot be read.
        platform: Operating system and architecture, such as "Linux x86_64".
        gpus: Model names of the NVIDIA GPUs that Linux lists, used or not.
    """

    processor: str
    cores: int | None = None
    instruction_sets: tuple[str, ...] = ()
    memory_bytes: int | None = None
    platform: str = ""
    gpus: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = [INSTRUCTION_SETS.get(flag, flag) for flag in self.instruction_sets]
        parts = [self.processor]
        if self.cores is not None:
            parts.append(f"{self.cores} {'core' if self.cores == 1 else 'cores'}")
        if named:
            parts.append(" ".join(named))
        if self.memory_bytes is not None:
            parts.append(f"{self.memory_bytes / 2**30:.0f} GiB")
        return ", ".join([*parts, *self.gpus])


@dataclass(frozen=True)
class Commit:
    """The version of the source in a git checkout.

    Attributes:
        hash: The commit's 40 hexadecimal digits.
        dirty: Whether code or settings differ from that commit.
    """

    hash: str
    dirty: bool = False

    def __str__(self) -> str:
        return self.hash[:10] + (" with local changes" if self.dirty else "")


def this_machine() -> Machine:
    """The computer that this process runs on."""
    fields = _cpu_fields()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return Machine(
        processor=fields.get("model name") or platform.processor() or platform.machine(),
        cores=_usable_cores(),
        instruction_sets=tuple(flag for flag in INSTRUCTION_SETS if flag in flags),
        memory_bytes=_memory_bytes(),
        platform=f"{platform.system()} {platform.machine()}",
        gpus=_gpus(),
    )


def installed_versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def this_commit(checkout: Path | None = None) -> Commit | None:
    """The commit that tfcompress runs from; None in an installed wheel, or without git.

    Args:
        checkout: Root of a git checkout; default: the folder that holds the package. An outer
            repository, such as one with a virtual environment inside, does not count.
    """
    root = Path(__file__).resolve().parents[2] if checkout is None else checkout
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", *_CODE)
    if head is None or changed is None:
        return None
    return Commit(head.strip(), bool(changed.strip()))


def environment() -> dict[str, Any]:
    """Versions and machine as one dictionary, for `environment.json` and the end of a page."""
    machine, versions = this_machine(), installed_versions()
    return {
        "python": versions.pop("python"),
        "platform": machine.platform,
        "processor": machine.processor,
        "cpus": os.cpu_count(),
        "instruction_sets": machine.instruction_sets,
        "memory_bytes": machine.memory_bytes,
        "gpus": machine.gpus,
        "packages": versions,
    }


def _cpu_fields() -> Mapping[str, str]:
    """The first CPU's lines of /proc/cpuinfo; nothing where there is no such file."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def _gpus() -> tuple[str, ...]:
    found = []
    for file in sorted(_NVIDIA.glob("*/information")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                found.append(line.removeprefix("Model:").strip())
    return tuple(found)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where it is missing or refuses."""
    try:
        done = subprocess.run(
            # `git status` would lock the index to refresh it, beside another git at work there.
            ["git", "--no-optional-locks", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
