"""YOLOv5 in PyTorch: data, training, evaluation, architecture search."""
