"""How Keras models are wired, in both flavors."""
