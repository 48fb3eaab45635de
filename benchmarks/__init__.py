"""Benchmarks: time, memory and quality beside peers, as ratios of runs in turn.

`run_all.py` is `make bench`; every other program measures one thing and runs alone. With `--record`
a program writes `records/<name>.json` (`record.py`); `render.py` puts the records into the pages.
"""
