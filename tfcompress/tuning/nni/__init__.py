"""A search by NNI 3.0, with its manager patched in memory and watched.

Open `experiment.py` first (a whole experiment), then `trial.py` (inside a trial). `setup.py` and
`preload.js` say which defects of NNI are patched, and why.
"""
