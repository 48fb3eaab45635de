"""Tables, plots, HTML pages, and run folders. Open `run.py` first."""
