"""tf_keras twins of Keras 3 models, and the only door to TensorFlow Model Optimization (TFMOT).

Open `twin.py` first: it converts a model to the other library, with equal outputs. `training.py`
compiles and trains a twin, `operations.py` maps bare operations, and `legacy.py` imports TFMOT and
reverts the side effects of its import.
"""
