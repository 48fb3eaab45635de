"""How Keras models of both libraries are wired, and how to build one anew with changes.

Open `wiring.py` first (a model as calls and tensors), then `rebuild.py`.
"""
