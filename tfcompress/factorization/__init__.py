"""Low-rank factorization of convolutions and dense layers: Tucker-2 and SVD.

Open `factorize.py` first. Each rule that chooses ranks is a function in `RANKS` of `rank.py`.
"""
