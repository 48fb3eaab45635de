"""Hyper-parameter searches: `unet-hpo`, `unet-hpo-nni`, `trash-hpo` and `nni-create`.

`run.py` runs a search by either tool; `tasks.py` and `spaces.py` say what is trained and varied.
"""
