"""Copy weights from one model to another by name and shape, and report what did not match.

```python
report = transfer_weights(pretrained, model, freeze=True)
print(report)
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfcompress.errors import DataError
from tfcompress.graph.layers import named_weights, own_weights, walk_layers
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr


@short_repr
@dataclass(frozen=True)
class TransferReport:
    """Result of a weight transfer.

    Attributes:
        copied: Weights that were copied, as "layer/role", including statistics of normalization.
        other_shape: Weights that were not copied because their shapes differ, each as (weight,
            shape in the source, shape in the target).
        missing: Weights of the target that the source lacks; they keep their values.
        unused: Weights of the source that the target lacks.
        frozen: Paths of the layers that were frozen.
    """

    copied: tuple[str, ...]
    other_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    frozen: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """The report as a table."""
        table = Table(("weights", "number", "which"), title="Weight transfer")
        shapes = [f"{name} {source} vs {target}" for name, source, target in self.other_shape]
        for title, names in (
            ("copied", list(self.copied)),
            ("shapes differ", shapes),
            ("not in the source", list(self.missing)),
            ("not in the target", list(self.unused)),
        ):
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            table.add(title, f"{len(names)}", ", ".join(names[:4]) + more)
        if self.frozen:
            table.note(f"frozen: {len(self.frozen)} layers, all of whose weights were copied")
        return table

    def __str__(self) -> str:
        return str(self.table())


def transfer_weights(
    source: Any,
    target: Any,
    freeze: bool = False,
    rename: Mapping[str, str] | None = None,
) -> TransferReport:
    """Copy every weight that has the same layer path, role and shape in both models.

    Weights are matched by name, never by order, so a layer that was added or removed does not shift
    the others. The statistics of batch normalization are copied too, so a frozen backbone
    normalizes as in its own training.

    Args:
        source: Model of either flavor, or a mapping from (layer path, role) to arrays.
        target: Model of either flavor, which is changed in place.
        freeze: Whether to freeze the layers all of whose weights were copied.
        rename: Mapping from paths in the target to paths in the source, where they differ.

    Returns:
        A report of what was copied, what was not, and why.

    Raises:
        DataError: No weight matches.
    """
    rename = dict(rename or {})
    given = dict(source) if isinstance(source, Mapping) else named_weights(source)
    left = set(given)
    copied, other_shape, missing, frozen = [], [], [], []
    for placed in walk_layers(target):
        own = own_weights(placed.layer)
        complete = bool(own)
        for role, variable in own:
            key = (rename.get(placed.path, placed.path), role)
            name = f"{placed.path}/{role}"
            if key not in given:
                missing.append(name)
                complete = False
                continue
            left.discard(key)
            value = np.asarray(given[key])
            if tuple(value.shape) != tuple(variable.shape):
                other_shape.append((name, tuple(value.shape), tuple(variable.shape)))
                complete = False
                continue
            variable.assign(value)
            copied.append(name)
        if complete and freeze:
            placed.layer.trainable = False
            frozen.append(placed.path)
    if not copied:
        raise DataError(
            "weights",
            "no weight of the source matches a weight of the target in name and shape",
            f"pass rename={{path in the target: path in the source}}; the source has e.g. "
            f"{', '.join('/'.join(key) for key in list(given)[:3])}",
        )
    return TransferReport(
        copied=tuple(copied),
        other_shape=tuple(other_shape),
        missing=tuple(missing),
        unused=tuple(sorted("/".join(key) for key in left)),
        frozen=tuple(frozen),
    )
