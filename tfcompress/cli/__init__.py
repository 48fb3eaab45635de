"""The command `tfcompress`: what can be done with a model file and no line of code.

Open `main.py` first. `terminal.py` turns errors into one line and an exit code.
"""
