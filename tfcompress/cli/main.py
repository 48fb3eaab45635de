"""The command `tfcompress`: compress and measure a model file without writing code.

    tfcompress inspect model.keras
    tfcompress prune model.keras small.keras --target-macs 0.5
    tfcompress prune model.keras sparse.keras --sparsity 0.8
    tfcompress quantize model.keras model.tflite --calibration images.npy
    tfcompress compare model.keras model.tflite --data test.npz
    tfcompress compress model.keras folder --recipe recipe.yaml --train train.npz --val val.npz

Only compress trains; what prune writes loses quality until it is trained on.
Options of a verb: tfcompress VERB --help. Version: tfcompress --version.
In a training script use `import tfcompress`.
"""

# What this file imports is loaded before a verb is known: no TensorFlow, no Keras, no NumPy.
from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

import tfcompress
from tfcompress.cli.compare import Compare
from tfcompress.cli.compress import Compress
from tfcompress.cli.inspect import Inspect
from tfcompress.cli.prune import Prune
from tfcompress.cli.quantize import Quantize
from tfcompress.cli.terminal import told_errors, told_warnings
from tfcompress.renamed import warn_renamed, with_new_flags
from tfcompress.reporting.console import new_console

COMMANDS: dict[str, Callable[..., Any]] = {
    "inspect": Inspect,
    "prune": Prune,
    "quantize": Quantize,
    "compare": Compare,
    "compress": Compress,
}
"""Verbs by name. Each has a `check()` that needs no TensorFlow, and a `run(console)`."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, check the files that it names, start TensorFlow, do the work.

    Args:
        argv: Arguments behind the program's name; default those of the process.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"tfcompress {tfcompress.__version__}")
        return
    with told_errors(interrupted=f"interrupted; {_how_to_go_on(argv)}"), told_warnings():
        chosen = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="tfcompress",
            description=(__doc__ or "").strip(),
            args=_with_new_names(argv),
        )
        chosen.check()
        from tfcompress import startup  # noqa: F401  (before TensorFlow: without its messages)

        chosen.run(new_console())


def _how_to_go_on(argv: Sequence[str]) -> str:
    """What to do after Ctrl-C, with the command as it was typed."""
    program = [Path(sys.argv[0]).name]
    if getattr(sys.modules["__main__"], "__spec__", None):  # `python -m tfcompress`
        program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    command = shlex.join([*program, *argv])
    if argv[:1] == ["compress"]:
        return f"finished steps are kept. To go on, run the same command again:\n{command}"
    return f"files are written whole or not at all. To start again:\n{command}"


def _with_new_names(argv: Sequence[str]) -> list[str]:
    """The arguments with `--format` in the place of its old name, `--recipe` of quantize."""
    if argv[:1] != ["quantize"]:
        return list(argv)
    return with_new_flags(
        argv,
        {"--recipe": "--format"},
        lambda old, new: warn_renamed(f"the flag {old} of quantize", new),
    )


if __name__ == "__main__":
    main()
