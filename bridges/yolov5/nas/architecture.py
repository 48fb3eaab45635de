"""Files of found architectures: versioned JSON with readable choices, checked when they are read.

```json
{"format": "tfcompress-architecture", "version": 3, "name": "yolov5n",
 "space": "<the architecture file's text>",
 "choices": {"conv_0": "k6p2", "conv_0_act": "silu", "c3_2": "x1_5", ...},
 "details": {"strategy": "darts", ...}}
```

Two older flat formats of indices are read too: kernels alone (version 1, keys `nasconv_0`,
`nasconv_2-1`, ...) and kernels, activations and widths (version 2, also `nasconv_0_act`, `c3_2`,
`model_1` ...). Version 2 counts all bottlenecks that its supernet constructed: for each C3 those of
its three widths, then as many that nothing used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.yolov5.architecture_file import Architecture, ArchitectureError, parse_architecture
from models.yolov5.build import Backbone, Detector
from models.yolov5.search_space import (
    WIDTHS,
    as_space,
    build_backbone_space,
    build_detector_space,
    frozen_pick,
    list_choices,
    plain_choices,
)
from tfcompress.atomic import write_text
from tfcompress.errors import DataError
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

FORMAT = "tfcompress-architecture"
VERSION = 3

# What the indices of the older formats stood for, by the kernel of the plain convolution.
_OLD_KERNELS = {
    "k6p2": ("k6p2", "k4p1", "k8p3"),
    "k3p1": ("k3p1", "k5p2"),
    "k1p0": ("k1p0", "k3p1"),
}
_OLD_ACTIVATIONS = ("silu", "identity", "relu")
_OLD_WIDTHS = ("x1", "x1_5", "x2")


@short_repr
@dataclass(frozen=True)
class FoundArchitecture:
    """A point of a search space.

    Attributes:
        space: The architecture file with its NAS rows.
        choices: The chosen option of every choice.
        details: How it was found.
    """

    space: Architecture
    choices: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choices(self.space, self.choices)

    def detector(self, names: tuple[str, ...] = ()) -> Detector:
        """A new detector of exactly this architecture."""
        detector = build_detector_space(self.space, frozen_pick(self.choices), names)
        detector.choices = dict(self.choices)
        return detector

    def backbone(self) -> Backbone:
        """A new backbone of exactly this architecture."""
        backbone = build_backbone_space(self.space, frozen_pick(self.choices))
        backbone.choices = dict(self.choices)
        return backbone

    def table(self) -> Table:
        """One row per row of the file that holds choices; what differs from the plain one."""
        plain = plain_choices(self.space)
        table = Table(("row", "choice", "chosen", "plain"), title=f"Choices in {self.space.name}")
        for label, chosen in self.choices.items():
            row = label.split("_")[1]
            table.add(row, label, chosen, "" if chosen == plain[label] else plain[label])
        return table

    def __str__(self) -> str:
        return str(self.table())


def check_choices(space: Architecture, choices: Mapping[str, str]) -> None:
    """Every choice of the space is made, by one of its options, and there is no other.

    Raises:
        DataError: Naming the choice and its options.
    """
    known, where = list_choices(space), "the architecture"
    fix = f"choose in the space of {space.name}; its choices are {', '.join(list(known)[:6])}, ..."
    unknown = [label for label in choices if label not in known]
    if unknown:
        raise DataError(
            where,
            f"choice {unknown[0]!r} is not in the space of {space.name}"
            + (f", nor {len(unknown) - 1} others" if len(unknown) > 1 else ""),
            fix,
        )
    for label, options in known.items():
        if label not in choices:
            raise DataError(where, f"choice {label!r} is missing", f"give one of {list(options)}")
        if choices[label] not in options:
            raise DataError(
                where, f"choice {label!r} is {choices[label]!r}", f"give one of {list(options)}"
            )


def write_architecture(path: str | Path, found: FoundArchitecture) -> Path:
    """Write an architecture as JSON, version 3."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": found.space.name,
        "space": found.space.to_yaml(),
        "choices": dict(found.choices),
        "details": dict(found.details),
    }
    write_text(path, json.dumps(content, indent=2) + "\n")
    return Path(path)


def read_found(path: str | Path, space: str | Path | Architecture = "yolov5s") -> FoundArchitecture:
    """Read a file of any version.

    Args:
        path: JSON.
        space: The space that a file of version 1 or 2 belongs to; later ones carry theirs.

    Raises:
        DataError: No such file, no JSON, a later version, or choices of another space.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), "there is no such file", "give an architecture's .json file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            str(path), f"it is no JSON ({error})", "give an architecture file"
        ) from None
    if not isinstance(content, dict) or not content:
        raise DataError(str(path), "it holds no choices by name", "give an architecture file")
    if content.get("format") == FORMAT:
        return _current(path, content)
    if all(key.startswith(("nasconv_", "c3_", "model_")) for key in content):
        architecture = as_space(space)
        choices = translate_old(content, architecture, str(path))
        return _found(path, architecture, choices, {"read from": path.name})
    raise DataError(
        str(path),
        f"its keys ({', '.join(list(content)[:4])}, ...) are of no known version",
        "give what a yolo-nas run wrote as architecture.json",
    )


def translate_old(content: Mapping[str, Any], space: Architecture, where: str) -> dict[str, str]:
    """Choices from the flat formats of indices; what version 1 leaves out stays plain.

    Raises:
        DataError: A value is no index of the choice.
    """
    choices = plain_choices(space)
    depth: dict[str, int] = {}
    for label in choices:
        if "_m" in label:
            row = label.split("_")[1]
            depth[row] = depth.get(row, 0) + 1
    used = 0
    for label, plain in list(choices.items()):
        kind, row, *rest = label.split("_")
        inner = rest[0] if rest and rest[0].startswith("cv") else ""
        old = f"nasconv_{row}" + (f"-{inner[2:]}" if inner else "")
        if label.endswith("_act"):
            choices[label] = _option(content, f"{old}_act", _OLD_ACTIVATIONS, plain, where)
        elif kind == "conv" or inner:
            choices[label] = _option(content, old, _OLD_KERNELS[plain], plain, where)
        elif not rest:
            choices[label] = _option(content, label, _OLD_WIDTHS, plain, where)
    for row, count in depth.items():
        width = _OLD_WIDTHS.index(choices[f"c3_{row}"])
        for index in range(count):
            key = f"model_{used + width * count + index + 1}"
            value = content.get(key, 1)
            names = [name for name, factor in WIDTHS.items() if factor == value]
            if not names:
                raise DataError(where, f"{key!r} is {value!r}", f"give one of {[*WIDTHS.values()]}")
            choices[f"c3_{row}_m{index}"] = names[0]
        used += 4 * count
    return choices


def _option(
    content: Mapping[str, Any], key: str, options: tuple[str, ...], plain: str, where: str
) -> str:
    if key not in content:
        return plain
    value = str(content[key])
    if value not in [str(index) for index in range(len(options))]:
        raise DataError(
            where, f"{key!r} is {content[key]!r}", f"give an index below {len(options)}"
        )
    return options[int(value)]


def _current(path: Path, content: Mapping[str, Any]) -> FoundArchitecture:
    if content.get("version") != VERSION:
        raise DataError(
            str(path),
            f"it has version {content.get('version')!r}",
            "update this package to read it",
        )
    missing = [key for key in ("name", "space", "choices") if key not in content]
    if missing or not isinstance(content["choices"], dict):
        raise DataError(str(path), f"{missing or 'choices'} is missing", "restore the file")
    try:
        space = parse_architecture(content["space"], str(path), content["name"])
    except ArchitectureError as error:
        raise DataError(str(path), f"its space is wrong: {error}", "restore the file") from None
    return _found(path, space, content["choices"], content.get("details", {}))


def _found(
    path: Path, space: Architecture, choices: Mapping[str, str], details: Mapping[str, Any]
) -> FoundArchitecture:
    """The architecture of a file; what is wrong with its choices names the file."""
    try:
        return FoundArchitecture(space, choices, details)
    except DataError as error:
        raise DataError(str(path), error.problem, error.fix) from None
