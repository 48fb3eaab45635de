"""Import TensorFlow without its start-up messages. The first import of every program.

Nothing in the library imports this; it is the only file that sets environment variables.
"""

import os

from tfcompress.quiet import quiet_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_stderr():
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # a program that trains several models retraces by design
    tf.constant(0.0)  # starts the runtime, which has messages of its own
