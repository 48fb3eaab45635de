"""Errors that name the place, the problem and the fix."""

from __future__ import annotations


class CompressionError(ValueError):
    """Base of every error that tfcompress raises on bad input.

    Args:
        where: The layer, file, argument or key that is wrong.
        problem: What is wrong with it.
        fix: What the reader can do about it.
    """

    def __init__(self, where: str, problem: str, fix: str) -> None:
        self.where = where
        self.problem = problem
        self.fix = fix
        super().__init__(f"{where}: {problem}. Fix: {fix}")


class ConfigError(CompressionError):
    """An argument, a `config_list` entry or an experiment's configuration is wrong."""


class NothingToRemove(ConfigError):
    """A target that is so near to what is there that no channel goes."""


class LayerError(CompressionError):
    """A layer or a model cannot be treated as asked."""


class DataError(CompressionError):
    """A data set, an image, a mask or a calibration set is wrong."""


class RunError(CompressionError):
    """A run's folder cannot be used as asked."""
