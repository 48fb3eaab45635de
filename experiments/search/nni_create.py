"""make nni-create: start an NNI experiment with nnictl, patched, and leave it running.

CONFIG is a file for `nnictl create` (experiments/nni/*.yml). Its paths are made absolute, its
`python` is this one, DATA and PORT are filled in; the manager listens on loopback and gives trials
their own parameters. `nnictl stop ID`, `resume` and `view` work with the NODE_OPTIONS that this
prints.

Takes seconds; the trials then run in the background. Prints the experiment's id, its web page, and
the commands that stop, resume and view it.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.common.program import Output, Program
from experiments.common.report import Report
from tfcompress.atomic import write_text
from tfcompress.errors import ConfigError
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.nni.setup import environment, nnictl
from tfcompress.tuning.nni.space import read_nni_space

_PATHS = ("searchSpaceFile", "trialCodeDirectory", "experimentWorkingDirectory")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Start an NNI experiment with nnictl."""

    config_file: str = "experiments/nni/unet.yml"
    """Configuration file for `nnictl create`."""
    data: str = ""
    """Folder of the data set, for the trials."""
    port: int = 8080
    """Port of the web page, on loopback."""
    trials: int = 0
    """Number of trials; 0: the file's maxTrialNumber."""
    tuner: str = ""
    """Tuner; empty: the file's."""
    concurrency: int = 0
    """Number of trials at a time; 0: the file's trialConcurrency."""
    small: bool = False
    """Whether trials are small, on generated data; SMOKE=1 sets it."""
    root: str = "runs"
    """Folder of all runs; the experiment goes below it, into nni/."""


def main(config: Config, out: Output) -> Report:
    """Resolve the file and create the experiment."""
    command = nnictl()
    content = resolved(config)
    free_port(config.port)
    path = Path(config.root) / "nni" / f"{Path(config.config_file).stem}.yml"
    write_text(path, yaml.safe_dump(content, sort_keys=False))
    manager_ip = content.get("nniManagerIp", "127.0.0.1")
    variables = environment(manager_ip)
    done = subprocess.run(
        [*command, "create", "--config", str(path), "--port", str(config.port)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    found = re.search(r"Experiment ID:\s*(?:\x1b\[\d+m)?([A-Za-z0-9_-]+)", output)
    if done.returncode or not found:
        last = (output.strip().splitlines() or ["no message"])[-1]
        raise ConfigError("nnictl create", last, f"correct {path}")
    setting = " ".join(f"{key}={shlex.quote(value)}" for key, value in variables.items() if value)
    lines = [
        f"experiment {found[1]} runs: http://127.0.0.1:{config.port}",
        f"its file: {path}; trials and logs: {content['experimentWorkingDirectory']}",
    ]
    for verb in ("stop", "resume", "view"):
        lines.append(f"{setting} {shlex.join([*command, verb, found[1]])}")
    return Report(tables=lines)


def resolved(config: Config) -> dict[str, Any]:
    """The content of the file with absolute paths, this interpreter, and the data set."""
    path = Path(config.config_file)
    if not path.is_file():
        raise ConfigError("CONFIG", f"there is no {path}", "give one, as experiments/nni/unet.yml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(str(path), f"it is no YAML ({error})", "correct the syntax") from None
    missing = [
        key for key in ("trialCommand", "tuner", "trainingService") if key not in (content or {})
    ]
    if missing:
        raise ConfigError(str(path), f"it lacks {', '.join(missing)}", "write it as NNI's manual")
    content.setdefault("experimentWorkingDirectory", str(Path(config.root).resolve() / "nni"))
    for key in _PATHS:
        if key in content:
            content[key] = str((path.parent / content[key]).resolve())
    if "searchSpaceFile" in content:
        read_nni_space(content["searchSpaceFile"])  # an empty range shows now
    first, *rest = content["trialCommand"].split(maxsplit=1)
    if first in ("python", "python3") and content["trainingService"].get("platform") != "remote":
        first = shlex.quote(sys.executable)
    words = [first, *rest]  # the rest is the shell's
    if config.data:
        words += ["--data", shlex.quote(str(Path(config.data).resolve()))]
    if config.small:
        words.append("--smoke")
    content["trialCommand"] = " ".join(words)
    if config.tuner:
        content["tuner"]["name"] = config.tuner
    if config.trials:
        content["maxTrialNumber"] = config.trials
    if config.concurrency:
        content["trialConcurrency"] = config.concurrency
    return content


PROGRAM = Program("nni-create", Config, main, {"small": True}, keeps_run=False)

if __name__ == "__main__":
    PROGRAM.start()
