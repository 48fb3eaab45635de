"""A search by keras-tuner, in one process or with a chief and workers.

Open `search.py` first. A tuner is an entry of `TUNERS` in `oracles.py`; `space.py` translates the
search space.
"""
