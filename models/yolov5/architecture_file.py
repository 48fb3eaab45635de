"""Read architecture files: YAML rows `[from, number, module, args]`, each with its line number.

```yaml
nc: 80
depth_multiple: 0.33
width_multiple: 0.25
anchors: [[10,13, 16,30, 33,23], ...]
backbone: [[-1, 1, Conv, [64, 6, 2, 2]], ...]
head: [[-1, 1, Conv, [512, 1, 1]], ...]
```

A file without a head describes a backbone. `from` is -1 for the previous row, the number of a row,
or a list of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
KEYS = ("nc", "depth_multiple", "width_multiple", "anchors", "backbone", "head")


class ArchitectureError(ValueError):
    """An architecture file is invalid; the message names the file, the line and the key."""


@dataclass(frozen=True)
class Row:
    """One row of the file.

    Attributes:
        source: Number of the row whose output it reads, or several; negative ones are relative.
        number: Number of repetitions, before the depth multiple.
        module: Name of the module.
        args: Arguments of the module, before the width multiple.
        where: File, line and row, for error messages.
    """

    source: int | tuple[int, ...]
    number: int
    module: str
    args: tuple[Any, ...]
    where: str


@dataclass(frozen=True)
class Architecture:
    """The content of an architecture file.

    Attributes:
        name: Name of the file without its suffix.
        n_classes: Number of classes of the head.
        depth_multiple: Factor for the number of repetitions of each row.
        width_multiple: Factor for the number of channels of each row.
        anchors: Anchors of each level, [w1, h1, w2, h2, ...] in pixels.
        backbone: Rows of the backbone.
        head: Rows of neck and head; empty for a backbone.
    """

    name: str
    n_classes: int
    depth_multiple: float
    width_multiple: float
    anchors: tuple[tuple[float, ...], ...]
    backbone: tuple[Row, ...]
    head: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, the backbone's first."""
        return self.backbone + self.head

    def with_classes(self, n_classes: int) -> Architecture:
        """The same architecture with another number of classes."""
        return replace(self, n_classes=n_classes)

    def to_yaml(self) -> str:
        """The architecture as the text of a YAML file."""
        content: dict[str, Any] = {
            "nc": self.n_classes,
            "depth_multiple": self.depth_multiple,
            "width_multiple": self.width_multiple,
        }
        if self.anchors:
            content["anchors"] = [list(level) for level in self.anchors]
        for key, rows in (("backbone", self.backbone), ("head", self.head)):
            if rows:
                content[key] = [
                    [
                        list(row.source) if isinstance(row.source, tuple) else row.source,
                        row.number,
                        row.module,
                        list(row.args),
                    ]
                    for row in rows
                ]
        return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def shipped() -> list[str]:
    """Names of the architecture files in this package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_architecture(source: str | Path) -> Architecture:
    """Read a shipped architecture by its name, or a file.

    Args:
        source: Name of a shipped architecture, such as "yolov5n" (see `shipped`), or the path of a
            YAML file.

    Raises:
        ArchitectureError: The file does not exist, is not valid YAML, or has an invalid key or row.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{source}.yaml"
        if not path.is_file():
            raise ArchitectureError(
                f"architecture {str(source)!r} is unknown; use {', '.join(shipped())}, "
                "or the path of a .yaml file"
            )
    if not path.is_file():
        raise ArchitectureError(f"{path}: there is no such file")
    return parse_architecture(path.read_text(encoding="utf-8"), str(path), path.stem)


def parse_architecture(text: str, where: str, name: str) -> Architecture:
    """Read an architecture from the text of a file.

    Args:
        text: Content of the file, YAML.
        where: Name of the file in error messages.
        name: Name of the architecture.

    Raises:
        ArchitectureError: The text is not valid YAML, or has an invalid key or row.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ArchitectureError(
            f"{where}, line {line}: it is not valid YAML ({error.problem}); correct the syntax"
        ) from None
    return _architecture(where, name, node)


def _architecture(path: str, name: str, node: Any) -> Architecture:
    if not isinstance(node, yaml.MappingNode):
        raise ArchitectureError(f"{path}: it does not hold a mapping; write lines 'key: value'")
    nodes = {str(key.value): (key, value) for key, value in node.value}
    for word, (key, _) in nodes.items():
        if word not in KEYS:
            raise ArchitectureError(
                f"{_at(path, key)}: unknown key {word!r}; use {', '.join(KEYS)}"
            )
    if "backbone" not in nodes:
        raise ArchitectureError(f"{path}: key 'backbone' is missing; give its rows")
    values = {word: _plain(value) for word, (_, value) in nodes.items()}
    where = {word: _at(path, key) for word, (key, _) in nodes.items()}
    multiples = {}
    for word in ("depth_multiple", "width_multiple"):
        value = values.get(word, 1.0)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
            raise ArchitectureError(
                f"{where[word]}: {word!r} is {value!r}; give a number above 0, such as 0.33"
            )
        multiples[word] = float(value)
    n_classes = values.get("nc", 80)
    if type(n_classes) is not int or n_classes < 1:
        raise ArchitectureError(f"{where['nc']}: 'nc' is {n_classes!r}; give a number of classes")
    return Architecture(
        name=name,
        n_classes=n_classes,
        **multiples,
        anchors=_anchors(values.get("anchors"), where.get("anchors", path)),
        backbone=_rows(path, "backbone", nodes),
        head=_rows(path, "head", nodes) if "head" in nodes else (),
    )


def _rows(path: str, key: str, nodes: Mapping[str, Any]) -> tuple[Row, ...]:
    node = nodes[key][1]
    if not isinstance(node, yaml.SequenceNode):
        raise ArchitectureError(f"{_at(path, node)}: {key!r} is not a list of rows")
    rows = []
    for index, item in enumerate(node.value):
        where = f"{_at(path, item)}, {key} row {index}"
        rows.append(_row(_plain(item), where))
    return tuple(rows)


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, list) or len(value) != 4:
        raise ArchitectureError(f"{where}: {value!r} is not [from, number, module, args]")
    source, number, module, args = value
    sources = source if isinstance(source, list) else [source]
    if not sources or not all(type(item) is int for item in sources):
        raise ArchitectureError(f"{where}: 'from' is {source!r}; give -1, a row, or a list of them")
    if type(number) is not int or number < 1:
        raise ArchitectureError(f"{where}: 'number' is {number!r}; give 1 or more")
    if not isinstance(args, list):
        raise ArchitectureError(f"{where}: 'args' is {args!r}; give a list")
    return Row(
        source=tuple(source) if isinstance(source, list) else source,
        number=number,
        module=str(module),
        args=tuple(args),
        where=where,
    )


def _anchors(value: Any, where: str) -> tuple[tuple[float, ...], ...]:
    if value is None:
        return ()
    fits = isinstance(value, list) and all(
        isinstance(level, list)
        and level
        and len(level) % 2 == 0
        and len(level) == len(value[0])
        and all(isinstance(side, (int, float)) and side > 0 for side in level)
        for level in value
    )
    if not fits:
        raise ArchitectureError(
            f"{where}: 'anchors' is {value!r}; give for each level the same number of widths and "
            "heights in pixels, such as [10,13, 16,30, 33,23]"
        )
    return tuple(tuple(float(side) for side in level) for level in value)


def _plain(node: Any) -> Any:
    """The value of a composed node, constructed by the safe loader."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _at(path: str, node: Any) -> str:
    return f"{path}, line {node.start_mark.line + 1}"
