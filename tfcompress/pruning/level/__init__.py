"""Level pruning: the smallest weights become zero and stay zero through any training loop.

Open `pruner.py` first: `LevelPruner` installs masks on variables. `masks.py` and `scores.py` choose
the weights (NumPy only); `state.py` and `callback.py` maintain masks and schedule during training.
"""
