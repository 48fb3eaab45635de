"""NNI experiments: the script of a trial, and files for nnictl."""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)
