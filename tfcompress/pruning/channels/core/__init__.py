"""The choice of channels on plain NumPy arrays, for Keras and PyTorch models alike.

`units.py` says which channels go together, `scores.py` how important they are, `budget.py` how many
stay, and `plan.py` holds the result. Open `plan.py` first.
"""
