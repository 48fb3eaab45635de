"""YOLOv5 in PyTorch: `data/`, `detector/` (train, score, run), `nas/`, `prune/` and `distill/`.

Open `detector/train.py` first. The architecture itself is in `models/yolov5/`.
"""
