"""MultiWorkerMirroredStrategy in two processes: the tf_keras twin trains, Keras 3 cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import worker_of_two
from tfcompress.tuning.checks import free_port

pytestmark = pytest.mark.slow


def run_two(*arguments):
    """Both processes' (exit code, stdout, stderr)."""
    addresses = [f"127.0.0.1:{free_port(0)}" for _ in range(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", worker_of_two.__file__, arguments[0]]
                + [f"{argument}{index}" for argument in arguments[1:]],
                env={**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def test_the_twin_trains_on_two_workers_as_on_one(tmp_path):
    for code, _, errors in run_two("tf_keras", tmp_path / "worker"):
        assert code == 0, errors
    workers = [json.loads(Path(tmp_path / f"worker{index}").read_text()) for index in range(2)]
    twin, pruner, history = worker_of_two.trained(False)
    for found in workers:
        # conv 72 of which 36, head 6 * 6 * 8 * 3 = 864 of which 432
        assert found["zeros"] == pruner.report().zeros == 36 + 432
        assert found["loss"] == pytest.approx(history["loss"][0], abs=1e-4)
        for mine, theirs in zip(found["weights"], twin.get_weights(), strict=True):
            np.testing.assert_allclose(np.array(mine), theirs, atol=1e-4)


def test_keras_3_is_refused_and_would_fail(tmp_path):
    for code, output, errors in run_two("keras"):
        assert "Keras 3 cannot train under MultiWorkerMirroredStrategy" in output
        assert "to_tf_keras" in output
        assert code != 0, "Keras 3 trains with several workers now: allow it"
        assert "Error" in errors
