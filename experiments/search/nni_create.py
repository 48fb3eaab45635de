"""make nni-create: start an NNI experiment with nnictl, mended, and leave it running.

CONFIG is a file for `nnictl create` (experiments/nni/*.yml). Its paths are made absolute, its
`python` is this one, DATA and PORT are filled in; the manager listens on loopback and pairs trials
with their own parameters. `nnictl stop ID`, `resume`, `view` work as ever, with NODE_OPTIONS as
this prints it.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from experiments.common.program import run_experiment
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
    """For `nnictl create`."""
    data: str = ""
    """Data set folder, for the trials."""
    port: int = 8080
    """Of the web page, on loopback."""
    trials: int = 0
    """In the place of the file's maxTrialNumber; 0: as it says."""
    tuner: str = ""
    """In the place of the file's; empty: as it says."""
    concurrency: int = 0
    """In the place of the file's trialConcurrency; 0: as it says."""
    small: bool = False
    """Small trials on generated data; SMOKE=1 sets it."""
    root: str = "runs"
    """Folder of all runs; the experiment goes below it, into nni/."""


def main(config: Config) -> str:
    """Resolve the file, create; the experiment's id."""
    console = Console(soft_wrap=True)
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
    experiment_id = found[1]
    setting = " ".join(f"{key}={shlex.quote(value)}" for key, value in variables.items() if value)
    console.print(f"experiment {experiment_id} runs: http://127.0.0.1:{config.port}")
    console.print(f"its file: {path}; trials and logs: {content['experimentWorkingDirectory']}")
    for verb in ("stop", "resume", "view"):
        console.print(f"{setting} {shlex.join([*command, verb, experiment_id])}")
    return experiment_id


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


if __name__ == "__main__":
    run_experiment(Config, main, {"small": True})
