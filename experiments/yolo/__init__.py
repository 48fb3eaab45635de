"""YOLOv5 detectors: a program per make target `yolo-*`.

`detection.py` is what they share: configuration, data, detector and report.
"""
