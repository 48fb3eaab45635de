"""Hyper-parameter searches: `unet-hpo`, `unet-hpo-nni`, `trash-hpo` and `nni-create`.

Open `unet.py` first. `run.py` runs a search by either tool; `tasks.py` and `spaces.py` say what is
trained and varied.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)
