"""Models between PyTorch, ONNX, Keras and LiteRT.

A program each for `convert-compare`, `evaluate-model` and `torch-teacher`; `crossing.py` is what
they share.
"""
