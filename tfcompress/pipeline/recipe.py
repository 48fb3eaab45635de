"""A recipe: the steps in order, the quality that each may cost, and the budget of the result.

```yaml
budget: {quality_drop: 0.01, macs: 0.25, latency: 0.15}
steps:
  - channel_prune: {target_macs: 0.25, rounds: 2, epochs: 10}
  - distill: {epochs: 10}
  - int8
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tfcompress.config import checked_fields, read_mapping
from tfcompress.errors import ConfigError
from tfcompress.pipeline.step import StepKind
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr


@short_repr
@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits; None is no limit. Shares refer to the original model as float32 LiteRT file.

    Attributes:
        quality_drop: Largest permitted loss of quality, absolute: 0.01 is one point of mIoU, 1.0 is
            no limit.
        macs: Largest share of the multiply-accumulates.
        size: Largest share of the file size.
        latency: Largest share of the latency, both files timed in turn.
        size_bytes: Largest file size in bytes.
        latency_ms: Largest latency in milliseconds, batch 1.
    """

    quality_drop: float = 0.01
    macs: float | None = None
    size: float | None = None
    latency: float | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value >= 0:
                raise ConfigError(f"budget, {item.name}", f"it is {value}", "give 0 or more")

    def missed(self, base: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, ...]:
        """Limits that are exceeded, in words.

        Args:
            base: "quality", "macs", "size_bytes" and "latency_ms" of the original model.
            now: Values with the same keys of the model to check.
        """
        found = []
        drop = base["quality"] - now["quality"]
        if drop > self.quality_drop:
            found.append(f"quality fell by {drop:.4f}, more than {self.quality_drop:g}")
        for name, key in (("macs", "macs"), ("size", "size_bytes"), ("latency", "latency_ms")):
            limit = getattr(self, name)
            if limit is not None and now[key] > limit * base[key]:
                found.append(f"{name} is {now[key] / base[key]:.3f} of the start, not {limit:g}")
        for name, unit in (("size_bytes", "bytes"), ("latency_ms", "ms")):
            limit = getattr(self, name)
            if limit is not None and now[name] > limit:
                found.append(f"{now[name]:,.6g} {unit}, more than {limit:g}")
        return tuple(found)


@short_repr
@dataclass(frozen=True)
class Step:
    """One step of a recipe.

    Attributes:
        kind: Key of `STEPS`.
        options: Options, an instance of the kind's dataclass.
        budget: Limits of the step itself; its `quality_drop` is the recipe's unless given.
    """

    kind: str
    options: Any
    budget: Budget

    def to_dict(self) -> dict[str, Any]:
        """The step as plain data for JSON."""
        return {self.kind: asdict(self.options), "budget": asdict(self.budget)}


@short_repr
@dataclass(frozen=True)
class Recipe:
    """Steps and the budget of the result.

    Attributes:
        steps: Steps in order.
        budget: Limits of the chosen model; its `quality_drop` (default 0.01) is also the limit of
            each step that has none of its own.
    """

    steps: tuple[Step, ...]
    budget: Budget = field(default_factory=Budget)

    def table(self) -> Table:
        """A table of the steps and their options."""
        table = Table(("step", "kind", "options", "may lose"), title="Recipe")
        for number, step in enumerate(self.steps, start=1):
            given = {k: v for k, v in asdict(step.options).items() if v not in (None, (), "")}
            options = ", ".join(f"{key}={value}" for key, value in given.items())
            table.add(str(number), step.kind, options, f"{step.budget.quality_drop:g}")
        return table


def read_recipe(
    source: str | Path | Mapping[str, Any] | Recipe, kinds: Mapping[str, StepKind]
) -> Recipe:
    """Read a recipe from a YAML file or its content, and check it as a whole.

    Args:
        source: Path of the file, its content, or a recipe.
        kinds: Known kinds of steps, by name.

    Raises:
        ConfigError: An unknown or wrong key, or steps in an order that cannot work; the error names
            the file, the step and the key.
    """
    if isinstance(source, Recipe):
        _check_order(source.steps, kinds)
        return source
    if isinstance(source, Mapping):
        where, content = "recipe", source
    else:
        where, content = str(source), read_mapping(source)
    unknown = [key for key in content if key not in ("budget", "steps")]
    if unknown:
        raise ConfigError(where, f"unknown key {unknown[0]!r}", "use budget and steps")
    listed = content.get("steps")
    if not isinstance(listed, (list, tuple)) or not listed:
        raise ConfigError(where, "it has no list of steps", f"list some of {', '.join(kinds)}")
    budget = _budget(content.get("budget"), f"{where}, budget")
    steps = tuple(
        _read_step(item, f"{where}, step {number}", kinds, budget)
        for number, item in enumerate(listed, start=1)
    )
    _check_order(steps, kinds)
    return Recipe(steps, budget)


def _read_step(item: Any, where: str, kinds: Mapping[str, StepKind], whole: Budget) -> Step:
    """Read one step: `int8`, or `{channel_prune: {target_macs: 0.5, budget: {...}}}`."""
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, Mapping) or len(item) != 1:
        raise ConfigError(where, f"{item!r} is no step", "write 'name' or 'name: {option: value}'")
    kind, given = next(iter(item.items()))
    if kind not in kinds:
        raise ConfigError(where, f"unknown step {kind!r}", f"use one of {', '.join(kinds)}")
    given = dict(given or {})
    where = f"{where} ({kind})"
    budget = _budget(given.pop("budget", None), f"{where}, budget", whole.quality_drop)
    options = kinds[kind].options
    try:
        return Step(kind, options(**checked_fields(options, given, where)), budget)
    except TypeError as error:
        raise ConfigError(where, str(error).partition(") ")[2], "give it a value") from None
    except ConfigError as error:
        if error.where.startswith(where):
            raise
        raise ConfigError(f"{where}, {error.where}", error.problem, error.fix) from None


def _budget(given: Any, where: str, quality_drop: float = 0.01) -> Budget:
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise ConfigError(where, f"{given!r} is no mapping", "write {quality_drop: 0.01}")
    return Budget(**{"quality_drop": quality_drop, **checked_fields(Budget, given, where)})


def _check_order(steps: tuple[Step, ...], kinds: Mapping[str, StepKind]) -> None:
    """Refuse an order in which a step undoes another one or has nothing to work on."""
    zeros = ""
    for index, step in enumerate(steps):
        where = f"recipe, step {index + 1} ({step.kind})"
        kind = kinds[step.kind]
        if kind.builds_model and index:
            raise ConfigError(where, "it makes a new model, which undoes the steps before it",
                              "make it the first step")  # fmt: skip
        if kind.yields_litert and index < len(steps) - 1:
            raise ConfigError(where, "it gives a LiteRT file, which no further step can change",
                              "make it the last step")  # fmt: skip
        if kind.destroys_zeros and zeros:
            raise ConfigError(where, f"it would fill the zeros of step {zeros}",
                              f"put it before step {zeros}")  # fmt: skip
        if kind.makes_zeros:
            zeros = f"{index + 1} ({step.kind})"
