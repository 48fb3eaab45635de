"""Converters for `onnx2keras`, which put plain Keras layers where it would leave Lambdas.

A new operator is `on_<operator>` in `values.py` (value by value) or `windows.py` (convolutions,
pooling, resizing). `patterns.py` replaces groups of nodes that are one Keras layer.
"""
