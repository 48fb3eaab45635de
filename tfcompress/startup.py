"""Import TensorFlow without its start-up messages. This is the first import of every program.

The library itself never imports this file, the only one that sets environment variables. With
TFCOMPRESS_AMX=0, LiteRT runs without Intel's AMX (see `tfcompress.litert.amx`).
"""

import os

from tfcompress.litert.amx import refuse_amx
from tfcompress.quiet import quiet_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow enables these kernels by default only on CPUs with AVX512-VNNI. With AVX2 alone, they
# shorten a training step of the U-Net to three quarters of the time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if os.environ.get("TFCOMPRESS_AMX") == "0":
    refuse_amx()
with quiet_stderr():
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # a program that trains several models retraces by design
    tf.constant(0.0)  # starts the runtime, which prints messages of its own
