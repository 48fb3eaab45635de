"""NNI's programs, started so that they pair trials rightly and listen on loopback only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tfcompress.errors import ConfigError
from tfcompress.tuning.with_nni import import_nni

PRELOAD = Path(__file__).with_name("nni_preload.js")


def environment(manager_ip: str = "127.0.0.1", watch: bool = False) -> dict[str, str]:
    """Environment variables under which NNI's manager is to be started, by `nnictl` too.

    Args:
        manager_ip: Address of this machine for workers of other machines.
        watch: Whether the manager ends with this process.
    """
    node = os.environ.get("NODE_OPTIONS", "")
    preload = f'--require="{PRELOAD}"'
    return {
        "NODE_OPTIONS": node if preload in node else f"{node} {preload}".strip(),
        "TFCOMPRESS_NNI_HOST": manager_ip,
        "TFCOMPRESS_NNI_PARENT": str(os.getpid()) if watch else "",
    }


def nnictl() -> list[str]:
    """The command `nnictl` of this interpreter.

    Raises:
        ConfigError: It is not there, or does not start.
    """
    import_nni()
    path = Path(sys.executable).with_name("nnictl")
    if not path.is_file():
        raise ConfigError("nnictl", f"there is no {path}", "pip install 'nni==3.0'")
    checked = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)
    if checked.returncode:
        last = (checked.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError("nnictl", f"it does not start ({last})", "pip install 'setuptools<82'")
    return [str(path)]
