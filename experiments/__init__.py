"""One program per make target, in a folder per subject.

`unet/`, `trash/` and `yolo/` train and compress a model, `search/` searches, `handover/` moves
models between PyTorch, ONNX, Keras and LiteRT, `common/` is what they share. `demo.py` is `make
demo`.
"""
