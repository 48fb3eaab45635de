"""Recipes: several techniques one after the other, each measured, within a budget.

Open `compress.py` first: it runs a recipe and knows no technique. `steps.py` lists the steps,
`recipe.py` reads and checks a recipe.
"""
