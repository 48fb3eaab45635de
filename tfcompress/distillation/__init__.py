"""Distillation: a student learns from one or several teachers.

Open `distiller.py` first. `losses.py` holds the formulas; `objectives.py` wraps them in Keras
layers with weights, temperatures and adapters, on the base class in `objective.py`.
"""
