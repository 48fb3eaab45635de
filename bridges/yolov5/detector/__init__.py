"""A detector's life: loss, training, average precision, its file, and running it on images.

Open `train.py` first. `file.py` says what a detector's `.pt` holds: plain tensors and text.
"""
