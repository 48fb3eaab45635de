"""Low-rank factors in place of convolutions and dense layers: Tucker-2 and SVD.

Open `factorize.py` first. A way to choose ranks is a function in `RANKS` of `rank.py`.
"""
