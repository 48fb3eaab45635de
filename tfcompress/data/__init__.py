"""Data sets: folders of images and masks, classified images, generated scenes, NumPy files.

Open `folder.py` (segmentation) or `image_folder.py` (classification) first.
"""
