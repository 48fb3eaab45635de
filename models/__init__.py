"""Model architectures that the experiments use. Nothing here imports `tfcompress`."""
