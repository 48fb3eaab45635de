"""Measurements: MACs, zeros, latency, memory, parity, and the quality of predictions.

Open `cost.py` or `latency.py` first; `tfcompress/comparison.py` puts them side by side.
"""
