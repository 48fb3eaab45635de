"""The command `tfcompress`: compress and measure a model file without writing code.

Open `main.py` first: it lists the verbs. Each verb is a file of its own with its options and its
work; `arguments.py` names the options, `files.py` checks and reads files, `terminal.py` prints
tables and turns errors into one line and an exit code.
"""
