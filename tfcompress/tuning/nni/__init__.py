"""Searches with NNI 3.0, whose manager is patched in memory and monitored.

Open `experiment.py` first (a whole experiment), then `trial.py` (inside a trial). `setup.py` and
`preload.js` tell which defects of NNI are patched, and why.
"""
