"""A search space of typed dimensions, some of which depend on the value of a choice.

`nni/space.py` and `keras_tuner/space.py` convert it to the tools' own forms and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Condition = tuple[str, tuple[Any, ...]]
"""Condition of a dimension: the name of a `Choice`, and the options under which it is active."""


@dataclass(frozen=True)
class Uniform:
    """A float from a range, uniformly distributed.

    Attributes:
        low: Lower end of the range.
        high: Upper end of the range.
        default: Value that is used without a search; None is the middle of the range.
        when: Condition under which the dimension is active; None for always.
    """

    low: float
    high: float
    default: float | None = None
    when: Condition | None = None

    @property
    def typical(self) -> float:
        """The default value."""
        return (self.low + self.high) / 2 if self.default is None else self.default

    def problem(self) -> str | None:
        """A description of what is invalid; None if nothing is."""
        return _range_problem(self.low, self.high, self.default, log=False)

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a random value."""
        return float(rng.uniform(self.low, self.high))

    def decode(self, value: Any) -> float:
        """Convert a tool's value to a float.

        Raises:
            ValueError: The value is not a number, or is out of range.
        """
        return float(_inside(_number(value), self.low, self.high))

    def unit(self, value: float) -> float:
        """Position of a value in the range, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform(Uniform):
    """As `Uniform`, with a uniformly distributed logarithm; the default is the geometric mean."""

    @property
    def typical(self) -> float:
        """The default value."""
        return math.sqrt(self.low * self.high) if self.default is None else self.default

    def problem(self) -> str | None:
        """A description of what is invalid; None if nothing is."""
        return _range_problem(self.low, self.high, self.default, log=True)

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a random value."""
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def unit(self, value: float) -> float:
        """Position of a value in the range, on a logarithmic scale, 0 to 1."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, log"


@dataclass(frozen=True)
class Integer:
    """An integer from a range.

    Attributes:
        low: Smallest value.
        high: Largest value, included.
        log: Whether the logarithm is uniformly distributed, rather than the value.
        default: Value that is used without a search; None is the rounded (geometric) middle.
        when: Condition under which the dimension is active; None for always.
    """

    low: int
    high: int
    log: bool = False
    default: int | None = None
    when: Condition | None = None

    @property
    def typical(self) -> int:
        """The default value."""
        if self.default is not None:
            return self.default
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return round(middle)

    def problem(self) -> str | None:
        """A description of what is invalid; None if nothing is."""
        found = _range_problem(self.low, self.high, self.default, self.log)
        if found is None and not all(float(v).is_integer() for v in (self.low, self.high)):
            found = f"its ends {self.low:g} and {self.high:g} are not integers"
        return found

    def sample(self, rng: np.random.Generator) -> int:
        """Draw a random value."""
        if not self.log:
            return int(rng.integers(self.low, self.high, endpoint=True))
        value = round(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return min(max(value, self.low), self.high)

    def decode(self, value: Any) -> int:
        """Convert a tool's value to an int (NNI sends 3.0).

        Raises:
            ValueError: The value is not an integer, or is out of range.
        """
        number = _inside(_number(value), self.low, self.high)
        if number != round(number):
            raise ValueError("not an integer")
        return round(number)

    def unit(self, value: int) -> float:
        """Position of a value in the range, 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}, integer" + (", log" if self.log else "")


@short_repr
@dataclass(frozen=True)
class Choice:
    """One of several options: strings, numbers, booleans, or tuples of them.

    Attributes:
        options: Options to choose from; their labels (`str` of each) must differ.
        default: Option that is used without a search; None is the first.
        when: Condition under which the dimension is active; None for always.
    """

    options: tuple[Any, ...]
    default: Any = None
    when: Condition | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The options as text, the form in which tools hold those that are not plain values."""
        return tuple(str(option) for option in self.options)

    @property
    def typical(self) -> Any:
        """The default option."""
        return self.options[0] if self.default is None else self.default

    def problem(self) -> str | None:
        """A description of what is invalid; None if nothing is."""
        if not self.options:
            return "it has no options"
        if len(set(self.labels)) < len(self.options):
            return f"its options {', '.join(self.labels)} contain duplicates"
        if self.default is not None and self.default not in self.options:
            return f"its default {self.default!r} is not among its options"
        return None

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a random option."""
        return self.options[int(rng.integers(len(self.options)))]

    def decode(self, value: Any) -> Any:
        """Convert a tool's value (an option, its label, or a list for a tuple) to the option.

        Raises:
            ValueError: The value is not an option.
        """
        value = tuple(value) if isinstance(value, list) else value
        for option, label in zip(self.options, self.labels, strict=True):
            same_kind = isinstance(option, bool) == isinstance(value, bool)
            if (value == option and same_kind) or value == label:
                return option
        raise ValueError(f"not one of {', '.join(self.labels)}")

    def unit(self, value: Any) -> float:
        """Position of an option among the options, 0 to 1."""
        return self.options.index(value) / max(1, len(self.options) - 1)

    def __str__(self) -> str:
        return " | ".join(self.labels)


Dimension = Uniform | LogUniform | Integer | Choice


@short_repr
@dataclass(frozen=True)
class SearchSpace:
    """Dimensions by name. A choice must come before the dimensions that depend on it.

    ```python
    space = SearchSpace({
        "learning_rate": LogUniform(1e-4, 1e-2),
        "optimizer": Choice(("adam", "sgd")),
        "momentum": Uniform(0.0, 0.99, when=("optimizer", ("sgd",))),
    })
    ```

    Raises:
        ConfigError: There are no dimensions, a range, default or option is invalid, or a condition
            does not name an earlier choice.
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
        """Whether a dimension is active, given the values of the dimensions before it."""
        when = self.dimensions[name].when
        return when is None or (when[0] in values and values[when[0]] in when[1])

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw random values of the active dimensions."""
        values: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if self.is_active(name, values):
                values[name] = dimension.sample(rng)
        return values

    def defaults(self) -> dict[str, Any]:
        """The default values of the dimensions that are active by default."""
        return self.decode({})

    def decode(self, values: Mapping[str, Any], where: str = "parameters") -> dict[str, Any]:
        """Check values from a tool or a file, and convert them to Python values.

        Args:
            values: Values by name. Missing dimensions take their defaults; inactive ones are
                dropped.
            where: Source of the values, for errors.

        Returns:
            Values of the active dimensions, by name.

        Raises:
            ConfigError: A name is unknown, or a value is invalid for its dimension.
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
        """Position of a value in its dimension, 0 to 1, for plots and regressions."""
        return self.dimensions[name].unit(value)

    def children(self, name: str, option: Any) -> list[str]:
        """Names of the dimensions whose condition contains an option of a choice."""
        return [
            child
            for child, dimension in self.dimensions.items()
            if dimension.when and dimension.when[0] == name and option in dimension.when[1]
        ]

    def table(self) -> Table:
        """The dimensions as a table."""
        table = Table(("dimension", "values", "default", "only if"), title="Search space")
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
    """Add a dimension that was read from a tool, or extend the condition of a known one.

    Tools write a conditional dimension once for each option under which it is active.

    Args:
        found: Dimensions read so far, which are changed in place.
        name: Name of the dimension.
        dimension: The dimension, with its condition.

    Raises:
        ConfigError: A different dimension has this name.
    """
    old = found.get(name)
    if old is None:
        found[name] = dimension
        return
    first, second = old.when, dimension.when
    alike = replace(old, when=None) == replace(dimension, when=None)
    if not (alike and first and second and first[0] == second[0]):
        raise ConfigError(
            f"dimension '{name}' of the search space",
            "two different dimensions have this name",
            "rename one",
        )
    found[name] = replace(old, when=(first[0], first[1] + second[1]))


def _number(value: Any) -> float:
    if isinstance(value, (bool, str)) or value is None:
        raise ValueError("not a number")
    return value


def _inside(value: float, low: float, high: float) -> float:
    slack = 1e-9 * max(abs(low), abs(high))  # rounding errors of a tool's logarithm and back
    if not low - slack <= value <= high + slack:
        raise ValueError(f"not between {low:g} and {high:g}")
    return min(max(value, low), high)


def _range_problem(low: float, high: float, default: float | None, log: bool) -> str | None:
    numbers = [value for value in (low, high, default) if value is not None]
    if len(numbers) < 2 or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers
    ):
        return f"its ends {low!r} and {high!r} (or its default) are not numbers"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"its ends {low} and {high} are not finite"
    if low >= high:
        return f"its range from {low:g} to {high:g} is empty"
    if log and low <= 0:
        return f"its lower end {low:g} has no logarithm"
    if default is not None and not low <= default <= high:
        return f"its default {default:g} is not between {low:g} and {high:g}"
    return None


def _condition_problem(when: Condition | None, seen: Mapping[str, Dimension]) -> str | None:
    if when is None:
        return None
    parent, options = when
    choice = seen.get(parent)
    if not isinstance(choice, Choice):
        return f"its condition names '{parent}', which is not an earlier Choice"
    missing = [option for option in options if option not in choice.options]
    if missing or not options:
        return f"its condition names options that '{parent}' does not have: {missing}"
    return None
