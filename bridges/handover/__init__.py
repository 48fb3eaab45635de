"""Models handed across between PyTorch, ONNX, Keras and LiteRT, with parity measured each time."""
