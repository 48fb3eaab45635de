"""Models handed across between PyTorch, ONNX, Keras and LiteRT, compared after each crossing.

Open `to_keras.py` (a trainable Keras model from ONNX) or `export.py` (to ONNX) first.
"""

HEADS = "tfcompress_heads"
"""Key under which a detector's ONNX metadata and its LiteRT card say how its maps are decoded."""
