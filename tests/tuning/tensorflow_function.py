"""A training function whose module starts TensorFlow as it is imported, as those of users do."""

import os

import tensorflow as tf

from tests.tuning.functions import quadratic

tf.constant(0.0)
THREADS = os.environ.get("TF_NUM_INTRAOP_THREADS")


def on_tensorflow(params, trial):
    """Fails where TensorFlow may use more threads than the search gives a trial."""
    assert str(max(1, (os.cpu_count() or 1) // 2)) == THREADS, THREADS
    return quadratic(params, trial)
