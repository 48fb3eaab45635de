"""One file per make target: docstring, Config dataclass, `main(config)`."""
