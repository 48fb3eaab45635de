"""Models between PyTorch, ONNX, Keras and LiteRT: a program for each make target.

`evaluate_model.py` (open it first), `convert_compare.py` and `torch_teacher.py`; `crossing.py` is
what they share.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)
