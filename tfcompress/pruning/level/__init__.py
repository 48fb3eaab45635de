"""Level pruning: the smallest weights become zero and stay zero through any training loop.

Open `pruner.py` first: `LevelPruner` puts masks on variables. `masks.py` and `scores.py` choose the
weights (NumPy only), `state.py` and `callback.py` keep masks and schedule in a training.
"""
