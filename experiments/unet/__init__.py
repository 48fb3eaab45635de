"""The multi-class U-Net: a program per make target `unet-*`.

Open `train.py` first. `segmentation.py` has the fields of all programs, the data and the model;
`study.py` what they do with them: train, prune, convert, compare.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)
