"""Channel pruning of whole detectors: a plan, then a physically smaller detector.

Open `planner.py` first. `groups.py` reads torch-pruning's dependency graph, `rounds.py` alternates
pruning with training.
"""
