"""Import TensorFlow without its start-up messages. The first import of every program.

Nothing in the library imports this; it is the only file that sets environment variables. With
TFCOMPRESS_AMX=0 LiteRT runs without Intel's AMX (see `tfcompress.litert.amx`).
"""

import os

from tfcompress.litert.amx import refuse_amx
from tfcompress.quiet import quiet_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow turns these kernels on by itself only where the CPU has AVX512-VNNI; with AVX2 alone a
# training step of the U-Net takes three quarters of the time with them.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if os.environ.get("TFCOMPRESS_AMX") == "0":
    refuse_amx()
with quiet_stderr():
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # a program that trains several models retraces by design
    tf.constant(0.0)  # starts the runtime, which has messages of its own
