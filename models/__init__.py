"""Model architectures of the experiments. Nothing here imports `tfcompress`."""
