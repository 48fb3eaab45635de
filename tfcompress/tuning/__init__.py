"""Hyper-parameter search: one space and one training function, run by keras-tuner or NNI.

Open `space.py` (what is searched) and `trial.py` (what a training function is given) first.
`keras_tuner/` and `nni/` hold the two tools, `results.py` what comes out of either.
"""
