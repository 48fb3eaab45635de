"""Training functions for tests: at the top of a module, so that other processes find them."""

import os
import signal
import time


def quadratic(params, trial):
    """Rises to 1 - (x - 0.3)^2 over four epochs."""
    top = 1.0 - (params["x"] - 0.3) ** 2
    for epoch in range(1, (trial.epochs or 4) + 1):
        value = top * (1 - 0.5**epoch)
        if trial.epoch(epoch, {"val_score": value, "val_accuracy": value / 2}):
            break
    return {"val_score": value, "val_accuracy": value / 2}


def signs(params, trial):
    """What a dimension with a sign in its name is."""
    value = {"val_score": params["weight_#00FF00"], "val_accuracy": 0.5}
    trial.epoch(1, value)
    return value


def troubled(params, trial):
    """By its number: works, crashes, is killed, hangs, gives NaN, gives nothing."""
    kind = trial.number % 6
    if kind == 1:
        raise ValueError("no such layer\nand more")
    if kind == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 3:
        time.sleep(600)
    if kind == 4:
        trial.epoch(1, {"val_score": float("nan"), "val_accuracy": 0.1})
    return None if kind == 5 else quadratic(params, trial)


def crash_or_kill(params, trial):
    """The first crashes, the others are killed."""
    if trial.number == 0:
        raise ValueError("no such layer\nand more")
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(params, trial):
    time.sleep(600)


def nan_or_nothing(params, trial):
    """The first gives NaN, the second nothing, the others work."""
    if trial.number == 0:
        trial.epoch(1, {"val_score": float("nan"), "val_accuracy": 0.1})
    return None if trial.number == 1 else quadratic(params, trial)


def always_crashes(params, trial):
    raise RuntimeError("the data set is gone")


def slow(params, trial):
    """Three epochs of a second; writes its process id, for tests that kill."""
    (trial.folder / "pid").write_text(str(os.getpid()))
    for epoch in range(1, 4):
        time.sleep(1.0)
        trial.epoch(epoch, {"val_score": params["x"] * epoch, "val_accuracy": 0.5})
    return {"val_score": params["x"] * 3, "val_accuracy": 0.5}


def crashes_second(params, trial):
    if trial.number == 1:
        raise ValueError("the second one")
    return quadratic(params, trial)


class DiesOnArrival:
    """A training function that ends the process that reads it."""

    def __call__(self, params, trial):
        return quadratic(params, trial)

    def __reduce__(self):
        return os._exit, (3,)
