"""Searches with keras-tuner, in one process or with a chief and workers.

Open `search.py` first. The tuners are entries of `TUNERS` in `oracles.py`; `space.py` converts the
search space.
"""
