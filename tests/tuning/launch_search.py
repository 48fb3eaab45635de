"""Launches a search of `functions.slow`, for tests that kill it: TOOL FOLDER [resume]."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tuning import functions
from tests.tuning.nni.nni_trial import OBJECTIVE, SPACE

TRIALS = 4

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # off in a background shell job
    tool, folder, resume = sys.argv[1], Path(sys.argv[2]), "resume" in sys.argv
    common = {"space": SPACE, "objective": OBJECTIVE, "folder": folder, "trials": TRIALS}
    if tool == "nni":
        from tfcompress.tuning.nni.experiment import NNISearch, run_nni_experiment

        script = str(Path(__file__).with_name("nni") / "nni_trial.py")
        command = [sys.executable, script, "slow"]
        search = NNISearch(
            command=command, tuner="Random", assessor=None, concurrency=2, seconds=300, **common
        )
        result = run_nni_experiment(search, resume=resume)
    else:
        from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
        from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch

        search = KerasTunerSearch(function=functions.slow, tuner="random", stop_rule=None, **common)
        workers = 2 if tool == "workers" else 1
        result = search_with_keras_tuner(search, workers=workers, resume=resume)
    print(result.table())
