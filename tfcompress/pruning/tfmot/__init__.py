"""TFMOT's pruning (`prune.py`) and weight clustering (`cluster.py`) for Keras 3 models.

Both train a tf_keras twin and bring the weights back to a plain Keras 3 model.
"""
