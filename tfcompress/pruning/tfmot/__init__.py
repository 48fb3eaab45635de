"""TFMOT's pruning (`prune.py`) and weight clustering (`cluster.py`) for Keras 3 models.

Both train a tf_keras twin and copy the weights back into a plain Keras 3 model.
"""
