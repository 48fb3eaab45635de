"""A training function whose module starts TensorFlow as it is imported, as those of users do."""

import os

import tensorflow as tf

from tests.tuning.functions import quadratic

tf.constant(0.0)


def on_tensorflow(params, trial):
    """Fails where TensorFlow has more threads than the search gives a trial."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    assert 1 <= threads <= max(1, (os.cpu_count() or 1) // 2), threads
    return quadratic(params, trial)
