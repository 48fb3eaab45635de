"""What a search is checked for before it starts, by either tool."""

from __future__ import annotations

import socket

from tfcompress.errors import ConfigError
from tfcompress.tuning.results import SearchError
from tfcompress.tuning.space import Choice, SearchSpace


def check_limits(trials: int, trial_seconds: float | None, seconds: float | None) -> None:
    """Refuse a search without trials or without time.

    Raises:
        ConfigError: Naming what is wrong.
    """
    if trials < 1:
        raise ConfigError("trials", f"there are {trials}", "use at least 1")
    for name, value in (("trial_seconds", trial_seconds), ("seconds", seconds)):
        if value is not None and not value > 0:
            raise ConfigError(name, f"it is {value:g}", "use seconds above 0, or None")


def check_epochs(epochs: int | None) -> int:
    """The epochs of Hyperband's longest trials.

    Raises:
        ConfigError: There are none.
    """
    if not epochs or epochs < 1:
        raise ConfigError("epochs", "Hyperband needs them", "give those of its longest trials")
    return epochs


def check_first_round(trials: int, epochs: int, first: int) -> None:
    """Refuse a Hyperband of too few trials for any to go on.

    Args:
        trials: Of the search.
        epochs: Of its longest trials.
        first: Trials of its first round.

    Raises:
        ConfigError: The search would end in its first round.
    """
    if trials <= first:
        raise ConfigError(
            "trials",
            f"{trials} are but the first round of Hyperband with {epochs} epochs",
            f"use more than {first}, for the best to go on, or fewer epochs",
        )


def check_numbers(space: SearchSpace, tuner: str, others: str) -> None:
    """Refuse a space that a tuner of numbers cannot search; it would wait for ever.

    Raises:
        ConfigError: A dimension has options that are no numbers, or stands under a condition.
    """
    for name, dimension in space.dimensions.items():
        options = dimension.options if isinstance(dimension, Choice) else ()
        if dimension.when is not None or any(type(o) not in (int, float) for o in options):
            raise ConfigError(
                "tuner",
                f"{tuner} searches numbers without conditions, and {name!r} is "
                f"{'conditional' if dimension.when is not None else 'a choice of other things'}",
                f"use {others}",
            )


def free_port(wanted: int) -> int:
    """A port on loopback that nobody listens on.

    Args:
        wanted: The port; 0: any.

    Raises:
        SearchError: Somebody listens on it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise SearchError(
                f"port {wanted}",
                "another program, perhaps another search, listens on it",
                "choose a free PORT",
            ) from None
        return int(probe.getsockname()[1])
