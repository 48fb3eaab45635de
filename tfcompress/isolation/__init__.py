"""Work in a process of its own: its crash, hang or global state is not the caller's.

Open `process.py` first: it calls a Python function in a new process, with messages, a log and a
deadline. `program.py` runs a command or a Python file to its end and says how it ended.
"""
