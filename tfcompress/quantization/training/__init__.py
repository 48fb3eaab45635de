"""Quantization-aware training on Keras 3 models, by TFMOT's fake quantization on a tf_keras twin.

Open `tfmot.py` first (`quantize_aware`). `rules.py` says how each kind of layer is quantized.
"""
