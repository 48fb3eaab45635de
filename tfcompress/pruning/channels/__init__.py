"""Channel pruning: plan which channels go, then build a smaller model without them.

Open `planner.py` first (`plan_channels`, `shrink`), then `config.py`. `trace/` follows channels
through a model, `core/` scores and chooses (NumPy only), `surgery.py` builds the smaller model.
"""
