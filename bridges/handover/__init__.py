"""Models handed across between PyTorch, ONNX, Keras and LiteRT, with parity measured each time."""

HEADS = "tfcompress_heads"
"""Key under which a detector's ONNX metadata and its LiteRT card say how its maps are decoded."""
