"""The PyTorch side: detectors, their search and compression, and models handed across."""
