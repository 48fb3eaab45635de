"""Checks before a search starts, for both tools."""

from __future__ import annotations

import socket

from tfcompress.errors import ConfigError
from tfcompress.tuning.results import SearchError
from tfcompress.tuning.space import Choice, SearchSpace


def check_limits(trials: int, trial_seconds: float | None, seconds: float | None) -> None:
    """Check the limits of a search.

    Args:
        trials: Maximum number of trials.
        trial_seconds: Time limit per trial in seconds; None for no limit.
        seconds: Time limit of the search in seconds; None for no limit.

    Raises:
        ConfigError: There are no trials, or a time limit is not above 0.
    """
    if trials < 1:
        raise ConfigError("trials", f"it is {trials}", "use at least 1")
    for name, value in (("trial_seconds", trial_seconds), ("seconds", seconds)):
        if value is not None and not value > 0:
            raise ConfigError(name, f"it is {value:g}", "use seconds above 0, or None")


def check_epochs(epochs: int | None) -> int:
    """Check the number of epochs of Hyperband's longest trials, and return it.

    Raises:
        ConfigError: The number is missing or below 1.
    """
    if not epochs or epochs < 1:
        raise ConfigError(
            "epochs", "Hyperband needs a number of epochs", "give that of its longest trials"
        )
    return epochs


def check_first_round(trials: int, epochs: int, first: int) -> None:
    """Refuse a Hyperband search that would end within its first round.

    Args:
        trials: Maximum number of trials of the search.
        epochs: Number of epochs of its longest trials.
        first: Number of trials in its first round.

    Raises:
        ConfigError: There are too few trials for a second round.
    """
    if trials <= first:
        raise ConfigError(
            "trials",
            f"{trials} trials do not exceed the first round of Hyperband with {epochs} epochs",
            f"use more than {first} trials, so that the best continue, or fewer epochs",
        )


def check_numbers(space: SearchSpace, tuner: str, others: str) -> None:
    """Refuse a space for a tuner that searches numbers only, and would otherwise hang.

    Args:
        space: Search space.
        tuner: Name of the tuner.
        others: Names of tuners that can search any space, for the error.

    Raises:
        ConfigError: A dimension is conditional, or has options that are not numbers.
    """
    for name, dimension in space.dimensions.items():
        options = dimension.options if isinstance(dimension, Choice) else ()
        if dimension.when is not None or any(type(o) not in (int, float) for o in options):
            raise ConfigError(
                "tuner",
                f"{tuner} searches only numbers without conditions, but {name!r} is "
                f"{'conditional' if dimension.when is not None else 'a choice of other values'}",
                f"use {others}",
            )


def free_port(wanted: int) -> int:
    """Find a free port on the loopback interface.

    Args:
        wanted: Number of the port; 0 for any free one.

    Returns:
        The number of the port.

    Raises:
        SearchError: Another program listens on the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise SearchError(
                f"port {wanted}",
                "another program, perhaps another search, is using it",
                "choose a free PORT",
            ) from None
        return int(probe.getsockname()[1])
