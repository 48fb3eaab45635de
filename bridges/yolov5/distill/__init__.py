"""Distillation of detectors.

Open `teacher.py` first: it applies the formulas of `losses.py` in training.
"""
