"""Pruning of single weights (`level/`) and whole channels (`channels/`), and by TFMOT (`tfmot/`).

All of them share two files: `selection.py` finds the weights that a `config_list` selects, and
`schedules.py` defines how sparsity grows during training.
"""
