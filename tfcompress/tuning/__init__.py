"""Hyper-parameter search: one space, one training function, keras-tuner or NNI."""
