"""A teacher's outputs, computed once, stored on disk and read in every epoch.

```python
store = store_teacher(distiller, images, "teacher_outputs")     # reused if it exists already
distiller.fit(store.dataset(images, labels, batch_size=32), epochs=10)
```
Use it only without random augmentation: the stored outputs belong to the inputs as they are. With
augmentation, run the teacher in each step instead.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.atomic import atomic_path
from tfcompress.data.batches import as_arrays, check_shapes
from tfcompress.distillation.distiller import INPUTS, TEACHER, Distiller
from tfcompress.distillation.teachers import Teachers
from tfcompress.errors import DataError
from tfcompress.short_repr import short_repr

_INDEX = "teacher.json"


@short_repr
@dataclass(frozen=True)
class TeacherStore:
    """Stored outputs of a distiller's teachers for a set of inputs.

    Attributes:
        folder: Folder that holds the `.npy` files.
        count: Number of samples.
        names: Names of the model's inputs.
        logits: File names of the logits, one per output.
        features: File names of the features, by layer name.
    """

    folder: Path
    count: int
    names: tuple[str, ...]
    logits: tuple[str, ...]
    features: dict[str, str]

    def dataset(
        self, inputs: Any, labels: Any = None, batch_size: int = 32, seed: int | None = 0
    ) -> Any:
        """Make batches for `Distiller.fit`: inputs, stored teacher outputs and labels.

        Args:
            inputs: The inputs that the outputs were computed for, in the same order.
            labels: Labels, one per sample; None for training without labels.
            batch_size: Number of samples per batch.
            seed: Seed of the shuffling, which differs from epoch to epoch. None does not shuffle.

        Returns:
            A `tf.data.Dataset` of `(x,)` or `(x, labels)`, where `x` is a dict of inputs and
            teacher outputs.

        Raises:
            DataError: The number of inputs or labels is not `count`.
        """
        import tensorflow as tf

        arrays = as_arrays(inputs, self.names) or []
        given = {len(array) for array in arrays} | ({len(labels)} if labels is not None else set())
        if given != {self.count}:
            raise DataError(
                str(self.folder),
                f"it holds {self.count} samples, but {sorted(given)} are given",
                "give the inputs that it was made from, and one label for each",
            )
        paths = [self.folder / name for name in (*self.logits, *self.features.values())]
        columns = [*arrays, *(np.load(path, mmap_mode="r") for path in paths)]
        if labels is not None:
            columns.append(np.asarray(labels))

        def batch(chosen: Any) -> Any:
            read = lambda rows: [np.asarray(column[rows]) for column in columns]  # noqa: E731
            tensors = tf.numpy_function(read, [chosen], [column.dtype for column in columns])
            for tensor, column in zip(tensors, columns, strict=True):
                tensor.set_shape((None, *column.shape[1:]))
            mine, rest = tensors[: len(arrays)], tensors[len(arrays) :]
            logits, rest = rest[: len(self.logits)], rest[len(self.logits) :]
            features = dict(zip(self.features, rest, strict=False))
            x = mine[0] if len(mine) == 1 else dict(zip(self.names, mine, strict=True))
            x = {INPUTS: x, TEACHER: {"logits": tuple(logits), "features": features}}
            return (x,) if labels is None else (x, tensors[-1])

        rows = tf.data.Dataset.range(self.count)
        if seed is not None:
            rows = rows.shuffle(self.count, seed=seed)
        return rows.batch(batch_size).map(batch).prefetch(tf.data.AUTOTUNE)


def store_teacher(
    distiller: Distiller,
    inputs: Any,
    folder: str | os.PathLike[str],
    batch_size: int = 32,
) -> TeacherStore:
    """Run a distiller's teachers on inputs and store their outputs in a folder.

    A folder that was made from the same inputs, teacher weights and layers is reused. The folder is
    written completely or not at all.

    Args:
        distiller: Distiller whose teachers are run, for the layers that its losses name.
        inputs: Array `(N, ...)`; for a model with several inputs a list of arrays, or a dict by
            input name.
        folder: Path of a new folder, or of one that an earlier call made.
        batch_size: Number of samples per batch of the teachers.

    Returns:
        The store, whose `dataset` gives batches for `Distiller.fit`.

    Raises:
        DataError: The inputs do not match the model, `select` needs labels, or the folder holds
            something else.
    """
    folder = Path(folder)
    teachers = distiller.teachers
    if teachers.select != "mean":
        raise DataError(
            "select", f"{teachers.select!r} needs labels and cannot be stored", "use select='mean'"
        )
    wiring = distiller.forward.wiring
    names = wiring.input_names
    arrays = as_arrays(inputs, names)
    if arrays is None:
        raise DataError("inputs", f"they are a {type(inputs).__name__}", "give NumPy arrays")
    check_shapes(arrays, names, wiring.input_shapes)
    mark = _fingerprint(teachers, arrays)
    if folder.exists():
        return _opened(folder, mark)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        index = _write(teachers, arrays, names, temporary, batch_size)
        (temporary / _INDEX).write_text(json.dumps({**index, "made_of": mark}), encoding="utf-8")
    return _opened(folder, mark)


def _opened(folder: Path, mark: str) -> TeacherStore:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            str(folder),
            "it exists but does not hold stored teacher outputs",
            "name a folder that does not exist",
        ) from error
    if index.pop("made_of", None) != mark:
        raise DataError(
            str(folder),
            "it was made from other inputs, another teacher or other layers",
            "name another folder, or remove this one",
        )
    index = {k: tuple(v) if isinstance(v, list) else v for k, v in index.items()}
    return TeacherStore(folder=folder, **index)


def _write(
    teachers: Teachers,
    arrays: Sequence[np.ndarray],
    names: Sequence[str],
    folder: Path,
    batch_size: int,
) -> dict[str, Any]:
    """Write one `.npy` file per output and feature; return the index."""
    import tensorflow as tf

    count = len(arrays[0])
    files: dict[str, Any] = {}

    @tf.function(reduce_retracing=True)
    def hear(x: Any) -> tuple[list[Any], dict[str, Any]]:
        said = teachers(x)
        return said.logits, said.features

    for start in range(0, count, batch_size):
        parts = [tf.convert_to_tensor(array[start : start + batch_size]) for array in arrays]
        x = parts[0] if len(parts) == 1 else dict(zip(names, parts, strict=True))
        logits, features = hear(x)
        named = {f"logits-{i}.npy": tensor for i, tensor in enumerate(logits)}
        named |= {f"feature-{i}.npy": tensor for i, tensor in enumerate(features.values())}
        for name, tensor in named.items():
            values = tensor.numpy()
            if name not in files:
                # NumPy 1.26 has no type annotations for open_memmap.
                files[name] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                    folder / name, "w+", values.dtype, (count, *values.shape[1:])
                )
            files[name][start : start + len(values)] = values
    for file in files.values():
        file.flush()
    return {
        "count": count,
        "names": list(names),
        "logits": [name for name in files if name.startswith("logits")],
        "features": {name: f"feature-{i}.npy" for i, name in enumerate(features)},
    }


def _fingerprint(teachers: Teachers, arrays: Sequence[np.ndarray]) -> str:
    """Hash of the inputs, the layers and weights asked for, and the teachers' variables.

    A callable that is not a model contributes its name only.
    """
    mark = hashlib.sha256(json.dumps([teachers.layers, teachers.weights]).encode())
    for model in teachers.models:
        name = getattr(model, "__name__", type(model).__name__)
        inner = getattr(model, "model", None)
        mark.update((name if inner is None else inner.name).encode())
        for weight in () if inner is None else inner.weights:
            mark.update(np.ascontiguousarray(weight).tobytes())
    for array in arrays:
        mark.update(f"{array.shape} {array.dtype}".encode())
        mark.update(np.ascontiguousarray(array).tobytes())
    return mark.hexdigest()
