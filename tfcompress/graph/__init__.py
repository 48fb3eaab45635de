"""Read the graph of Keras 3 and tf_keras models, and rebuild models with changed layers.

Open `wiring.py` first (a model as calls and tensors), then `rebuild.py`.
"""
