"""A search space, stated once: typed dimensions, some of them only under a choice.

`nni_space` and `keras_tuner_space` turn it into what either tool reads, and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError
from tfcompress.reporting.tables import Table

Condition = tuple[str, tuple[Any, ...]]
"""Name of a `Choice` and those of its options under which a dimension exists."""


@dataclass(frozen=True)
class Uniform:
    """A float between two ends.

    Attributes:
        low: Lower end.
        high: Upper end.
        default: Value where there is no search; the middle.
        when: Condition; None: always there.
    """

    low: float
    high: float
    default: float | None = None
    when: Condition | None = None

    @property
    def typical(self) -> float:
        """The default, or the middle."""
        return (self.low + self.high) / 2 if self.default is None else self.default

    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        return _range_problem(self.low, self.high, self.default, log=False)

    def sample(self, rng: np.random.Generator) -> float:
        """A random value."""
        return float(rng.uniform(self.low, self.high))

    def decode(self, value: Any) -> float:
        """A tool's value as a float.

        Raises:
            ValueError: It is none of the range.
        """
        return float(_inside(_number(value), self.low, self.high))

    def unit(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A float between two ends above 0 whose logarithm is uniform; the default's is the middle."""

    @property
    def typical(self) -> float:
        """The default, or the geometric middle."""
        return math.sqrt(self.low * self.high) if self.default is None else self.default

    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        return _range_problem(self.low, self.high, self.default, log=True)

    def sample(self, rng: np.random.Generator) -> float:
        """A random value."""
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def unit(self, value: float) -> float:
        """Where a value's logarithm lies between those of the ends, 0 to 1."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, log"


@dataclass(frozen=True)
class Integer:
    """A whole number.

    Attributes:
        low: Least value.
        high: Greatest value, included.
        log: Whether its logarithm is uniform.
        default: Value where there is no search; the (geometric) middle.
        when: Condition; None: always there.
    """

    low: int
    high: int
    log: bool = False
    default: int | None = None
    when: Condition | None = None

    @property
    def typical(self) -> int:
        """The default, or the middle."""
        if self.default is not None:
            return self.default
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return round(middle)

    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        found = _range_problem(self.low, self.high, self.default, self.log)
        if found is None and not all(float(v).is_integer() for v in (self.low, self.high)):
            found = f"its ends {self.low:g} and {self.high:g} are not whole"
        return found

    def sample(self, rng: np.random.Generator) -> int:
        """A random value."""
        if not self.log:
            return int(rng.integers(self.low, self.high, endpoint=True))
        value = round(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return min(max(value, self.low), self.high)

    def decode(self, value: Any) -> int:
        """A tool's value (NNI sends 3.0) as an int.

        Raises:
            ValueError: It is none of the range, or not whole.
        """
        number = _inside(_number(value), self.low, self.high)
        if number != round(number):
            raise ValueError("no whole number")
        return round(number)

    def unit(self, value: int) -> float:
        """Where a value lies between the ends, 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}, whole" + (", log" if self.log else "")


@dataclass(frozen=True)
class Choice:
    """One of some options: strings, numbers, booleans, or tuples of them.

    Attributes:
        options: The options; labels (`str` of each) must differ.
        default: Option where there is no search; the first.
        when: Condition; None: always there.
    """

    options: tuple[Any, ...]
    default: Any = None
    when: Condition | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The options as text, as tools carry those that are no plain values."""
        return tuple(str(option) for option in self.options)

    @property
    def typical(self) -> Any:
        """The default, or the first option."""
        return self.options[0] if self.default is None else self.default

    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        if not self.options:
            return "it has no options"
        if len(set(self.labels)) < len(self.options):
            return f"its options {', '.join(self.labels)} repeat"
        if self.default is not None and self.default not in self.options:
            return f"its default {self.default!r} is none of its options"
        return None

    def sample(self, rng: np.random.Generator) -> Any:
        """A random option."""
        return self.options[int(rng.integers(len(self.options)))]

    def decode(self, value: Any) -> Any:
        """A tool's value (an option, its label, or a list for a tuple) as the option.

        Raises:
            ValueError: It is no option.
        """
        value = tuple(value) if isinstance(value, list) else value
        for option, label in zip(self.options, self.labels, strict=True):
            same_kind = isinstance(option, bool) == isinstance(value, bool)
            if (value == option and same_kind) or value == label:
                return option
        raise ValueError(f"none of {', '.join(self.labels)}")

    def unit(self, value: Any) -> float:
        """Where an option stands in their order, 0 to 1."""
        return self.options.index(value) / max(1, len(self.options) - 1)

    def __str__(self) -> str:
        return " | ".join(self.labels)


Dimension = Uniform | LogUniform | Integer | Choice


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions by name. A condition's choice stands before what depends on it.

    Example:
        >>> SearchSpace({
        ...     "learning_rate": LogUniform(1e-4, 1e-2),
        ...     "optimizer": Choice(("adam", "sgd")),
        ...     "momentum": Uniform(0.0, 0.99, when=("optimizer", ("sgd",))),
        ... })

    Raises:
        ConfigError: A range is empty, an option repeats, a condition names no earlier choice.
    """

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise ConfigError("search space", "it has no dimensions", "give at least one")
        seen: dict[str, Dimension] = {}
        for name, dimension in self.dimensions.items():
            problem = dimension.problem() or _condition_problem(dimension.when, seen)
            if problem:
                raise ConfigError(
                    f"dimension '{name}' of the search space",
                    problem,
                    "correct its ends, options or condition",
                )
            seen[name] = dimension

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a dimension exists beside these values."""
        when = self.dimensions[name].when
        return when is None or (when[0] in values and values[when[0]] in when[1])

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Random values of the active dimensions."""
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if self.is_active(name, values):
                values[name] = dimension.sample(rng)
        return values

    def defaults(self) -> dict[str, Any]:
        """The default of each active dimension."""
        return self.decode({})

    def decode(self, values: Mapping[str, Any], where: str = "parameters") -> dict[str, Any]:
        """Values of a tool or a file, checked, as Python values of the active dimensions.

        Args:
            values: By name; what is missing takes its default, what is inactive is left out.
            where: Named in errors.

        Raises:
            ConfigError: An unknown name, or a value that its dimension does not have.
        """
        unknown = [name for name in values if name not in self.dimensions]
        if unknown:
            raise ConfigError(
                where, f"unknown {', '.join(map(repr, unknown))}", f"use {', '.join(self)}"
            )
        found: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if not self.is_active(name, found):
                continue
            if name not in values:
                found[name] = dimension.typical
                continue
            try:
                found[name] = dimension.decode(values[name])
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    where, f"{name} is {values[name]!r} ({error})", f"use {dimension}"
                ) from None
        return found

    def unit(self, name: str, value: Any) -> float:
        """Where a value lies in its dimension, 0 to 1, for plots and regressions."""
        return self.dimensions[name].unit(value)

    def children(self, name: str, option: Any) -> list[str]:
        """Dimensions that exist directly under an option of a choice."""
        return [
            child
            for child, dimension in self.dimensions.items()
            if dimension.when and dimension.when[0] == name and option in dimension.when[1]
        ]

    def table(self) -> Table:
        """The dimensions as a table."""
        table = Table(("dimension", "values", "default", "only where"), title="Search space")
        for name, dimension in self.dimensions.items():
            when = dimension.when
            condition = f"{when[0]} is {' or '.join(map(str, when[1]))}" if when else ""
            default = dimension.typical
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            table.add(name, str(dimension), shown, condition)
        return table

    def __iter__(self) -> Any:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)


def add_dimension(found: dict[str, Dimension], name: str, dimension: Dimension) -> None:
    """Add a dimension that was read, or widen the condition of one that is there already.

    Tools write a dimension once for each option under which it stands.

    Raises:
        ConfigError: Another dimension has its name.
    """
    old = found.get(name)
    if old is None:
        found[name] = dimension
        return
    first, second = old.when, dimension.when
    alike = type(old) is type(dimension) and replace(old, when=None) == replace(
        dimension, when=None
    )
    if not (alike and first and second and first[0] == second[0]):
        raise ConfigError(
            f"dimension '{name}' of the search space",
            "two different dimensions have this name",
            "rename one",
        )
    found[name] = replace(old, when=(first[0], first[1] + second[1]))


def _number(value: Any) -> float:
    if isinstance(value, (bool, str)) or value is None:
        raise ValueError("no number")
    return value


def _inside(value: float, low: float, high: float) -> float:
    slack = 1e-9 * max(abs(low), abs(high))  # a tool's logarithm and back
    if not low - slack <= value <= high + slack:
        raise ValueError(f"not from {low:g} to {high:g}")
    return min(max(value, low), high)


def _range_problem(low: float, high: float, default: float | None, log: bool) -> str | None:
    numbers = [value for value in (low, high, default) if value is not None]
    if len(numbers) < 2 or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers
    ):
        return f"its ends {low!r} and {high!r} (or its default) are no numbers"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"its ends {low} and {high} are not finite"
    if low >= high:
        return f"its range from {low:g} to {high:g} is empty"
    if log and low <= 0:
        return f"its lower end {low:g} has no logarithm"
    if default is not None and not low <= default <= high:
        return f"its default {default:g} is not from {low:g} to {high:g}"
    return None


def _condition_problem(when: Condition | None, seen: Mapping[str, Dimension]) -> str | None:
    if when is None:
        return None
    parent, options = when
    choice = seen.get(parent)
    if not isinstance(choice, Choice):
        return f"its condition names '{parent}', which is no Choice before it"
    missing = [option for option in options if option not in choice.options]
    if missing or not options:
        return f"its condition names options of '{parent}' that are not there: {missing}"
    return None
