"""Architecture search around YOLOv5: one supernet, or single trials.

Open `oneshot.py` or `multitrial.py` first. `proxies.py` says what is searched on, `architecture.py`
is the file of what was found, and `transplant.py` puts a found backbone into a detector.
"""
