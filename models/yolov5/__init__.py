"""YOLOv5 in PyTorch, written from the published architecture, with its files' parameter names."""
