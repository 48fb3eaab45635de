"""Pruning: single weights (`level/`), whole channels (`channels/`), and TFMOT's own (`tfmot/`).

What every kind shares lies here: `selection.py` reads a `config_list` into weights, `schedules.py`
says how sparsity grows during training.
"""
