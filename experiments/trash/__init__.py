"""The trash classifier: a program per make target `trash-*`.

Open `train.py` first. `classification.py` has the fields of all programs, the data and the model;
`study.py` what they do with them: train, teach, convert, compare.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)
