"""What programs of every subject share. Open `program.py` first: it runs an experiment."""
