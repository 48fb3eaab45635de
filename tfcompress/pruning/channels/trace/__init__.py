"""How channels run through a Keras model: one rule for each kind of layer and operation.

Open `flow.py` first: it applies the rules in the order of the graph. `groups.py` reads off which
channels go together. A new layer is a rule in `LAYER_RULES` of `layer_rules.py`.
"""
