"""Errors that name the place, the problem and the fix."""

from __future__ import annotations


class CompressionError(ValueError):
    """Base class of the errors that tfcompress raises on bad input.

    Args:
        where: Layer, file, argument or key that is wrong.
        problem: Description of what is wrong with it.
        fix: Instruction that tells the user how to correct it.
    """

    def __init__(self, where: str, problem: str, fix: str) -> None:
        self.where = where
        self.problem = problem
        self.fix = fix
        super().__init__(f"{where}: {problem}. Fix: {fix}")


class ConfigError(CompressionError):
    """An argument, a `config_list` entry or an experiment's configuration is wrong."""


class NothingToRemove(ConfigError):
    """A pruning target is so close to the model's current size that no channel is removed."""


class LayerError(CompressionError):
    """A layer or model cannot be processed as requested."""


class DataError(CompressionError):
    """A data set, an image, a mask or a calibration set is wrong."""


class RunError(CompressionError):
    """The folder of a run cannot be used as requested."""


class VersionError(CompressionError):
    """An installed package lacks a name that tfcompress needs."""
