"""Measurements of models: MACs, sparsity, latency, memory, parity and prediction quality.

Open `cost.py` or `latency.py` first; `tfcompress/comparison.py` puts them into one table.
"""
