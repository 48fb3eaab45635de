"""YOLOv5 detectors: a program per make target `yolo-*`.

Open `train.py` first. `detection.py` has the fields of all programs, the data and the detectors;
`study.py` what they do with them: train, and measure the files on the test images.
"""
