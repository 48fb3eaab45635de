"""Detection data in YOLO's layout: read and checked, augmented, batched; and a generated set.

Open `dataset.py` first.
"""
