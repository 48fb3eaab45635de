"""The multi-class U-Net: a program per make target `unet-*`.

`segmentation.py` is what they share: configuration, data, model and evaluation.
"""
