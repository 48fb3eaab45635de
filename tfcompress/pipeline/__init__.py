"""Recipes: several techniques one after the other, each measured, within a budget."""
