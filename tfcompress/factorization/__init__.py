"""Low-rank factors in the place of convolutions and dense layers: Tucker-2 and SVD."""
