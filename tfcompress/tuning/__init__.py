"""Hyper-parameter search: one space and one training function, run by keras-tuner or NNI.

Open `space.py` (the search space) and `trial.py` (the objective, and the arguments of a training
function) first. `keras_tuner/` and `nni/` drive the two tools, and `results.py` holds the result of
either.
"""
