"""YOLOv5 in PyTorch, written from the published architecture; parameter names as in its files."""
