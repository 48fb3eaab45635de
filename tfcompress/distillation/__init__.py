"""Distillation: a student learns from one or several teachers.

Open `distiller.py` first. `losses.py` has the formulas, `objectives.py` what they need around them.
"""
