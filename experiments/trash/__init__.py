"""The trash classifier: a program per make target `trash-*`.

`classification.py` is what they share: configuration, data, model and training.
"""
