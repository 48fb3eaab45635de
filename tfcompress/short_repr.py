"""One line about an object: what it is, its settings and sizes, never its arrays or bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

LINE = 120
"""Largest number of characters of a description."""
VALUE = 48
"""Largest number of characters of one value in it."""

T = TypeVar("T")


def short_repr(cls: type[T]) -> type[T]:
    """Decorator above `@dataclass`: `repr` is one line that leaves out fields at their defaults.

    If the class has a `table()`, that is what `print` shows.
    """

    def describe(self: Any) -> str:
        fields = [field for field in dataclasses.fields(self) if field.repr]
        given = {f.name: getattr(self, f.name) for f in fields if not _is_default(self, f)}
        return one_line(type(self).__name__, given)

    def show(self: Any) -> str:
        return str(self.table())

    type.__setattr__(cls, "__repr__", describe)
    if hasattr(cls, "table") and cls.__str__ is object.__str__:
        type.__setattr__(cls, "__str__", show)
    return cls


class ReprByConfig:
    """A Keras object whose `repr` is one line with the arguments of its `get_config`."""

    def __repr__(self) -> str:
        config: dict[str, Any] = self.get_config()  # type: ignore[attr-defined]
        unimportant = ("name", "reduction", "dtype", "trainable")
        given = {k: v for k, v in config.items() if k not in unimportant and v is not None}
        return one_line(type(self).__name__, given)


def one_line(name: str, facts: Mapping[str, Any]) -> str:
    """`Name(fact=value, ...)`, cut after the last fact that fits into `LINE` characters."""
    parts: list[str] = []
    for key, value in facts.items():
        part = f"{key}={short(value)}"
        if len(f"{name}({', '.join([*parts, part])}, ...)") > LINE:
            parts.append("...")
            break
        parts.append(part)
    return f"{name}({', '.join(parts)})"


def short(value: Any) -> str:
    """A value in at most `VALUE` characters; of an array its type and shape, of bytes how many."""
    text = _text(value)
    return text if len(text) <= VALUE and "\n" not in text else type(value).__name__


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if hasattr(value, "item") and tuple(value.shape) == ():
            return _text(value.item())
        shape = "x".join("?" if n is None else str(n) for n in tuple(value.shape)) or "scalar"
        return f"<{str(getattr(value.dtype, 'name', value.dtype))} {shape}>"
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value):,} bytes>"
    if isinstance(value, (str, Path)):
        text = str(value)
        return repr(text if len(text) <= VALUE - 2 else f"{text[: VALUE // 2]}...{text[-16:]}")
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return str(value.__name__)
    if hasattr(value, "layers") and hasattr(value, "name"):
        return f"<model {value.name!r}>"
    if isinstance(value, Mapping):
        return _joined("{", [f"{key}: {short(v)}" for key, v in value.items()], "}", "entries")
    if isinstance(value, (list, tuple, Set)):
        kinds = {type(item).__name__ for item in value}
        what = f"x {kinds.pop()}" if len(kinds) == 1 else "items"
        start, end = "[]" if isinstance(value, list) else "{}" if isinstance(value, Set) else "()"
        end = ",)" if start == "(" and len(value) == 1 else end
        return _joined(start, [short(item) for item in value], end, what)
    if dataclasses.is_dataclass(value) or isinstance(value, (int, type(None))):
        return repr(value)
    return type(value).__name__  # the repr of a stranger may be long, and slow to make


def _joined(start: str, items: list[str], end: str, what: str) -> str:
    text = f"{start}{', '.join(items)}{end}"
    return text if len(text) <= VALUE else f"<{len(items)} {what}>"


def _is_default(owner: Any, field: dataclasses.Field[Any]) -> bool:
    value = getattr(owner, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return hasattr(value, "__len__") and len(value) == 0
    default = field.default
    if value is default:
        return True
    plain = (bool, int, float, str, tuple)
    return isinstance(default, plain) and type(value) is type(default) and value == default
