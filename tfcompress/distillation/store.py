"""A teacher's outputs on disk: computed once, read in every epoch.

```python
store = store_teacher(distiller, images, "teacher_outputs")     # skipped if it is there already
distiller.fit(store.dataset(images, labels, batch_size=32), epochs=100)
```
It is for data that every epoch shows unchanged; a teacher that is to see what augmentation made has
to run.
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

_INDEX = "teacher.json"


@dataclass(frozen=True)
class TeacherStore:
    """Stored outputs of a distiller's teachers for a set of inputs.

    Attributes:
        folder: Where they are.
        count: Samples.
        names: Of the inputs.
        logits: Files of the logits, one per output.
        features: Files of the features, by layer name.
    """

    folder: Path
    count: int
    names: tuple[str, ...]
    logits: tuple[str, ...]
    features: dict[str, str]

    def dataset(
        self, inputs: Any, labels: Any = None, batch_size: int = 32, seed: int | None = 0
    ) -> Any:
        """Batches for `Distiller.fit`: inputs with the teacher's outputs, and labels.

        Args:
            inputs: The inputs that were stored for, in the same order.
            labels: One per sample; None for none.
            batch_size: Samples per batch.
            seed: Of the order, which is new in every epoch; None keeps the order.

        Returns:
            A `tf.data.Dataset`.

        Raises:
            DataError: The number of samples is another.
        """
        import tensorflow as tf

        arrays = as_arrays(inputs, self.names) or []
        given = {len(array) for array in arrays} | ({len(labels)} if labels is not None else set())
        if given != {self.count}:
            raise DataError(
                str(self.folder),
                f"it holds {self.count} samples, and {sorted(given)} are given",
                "give the inputs that it was made for, and as many labels",
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
    """Compute what a distiller's teachers say about inputs, and keep it in a folder.

    A folder that already holds it (for the same inputs, teachers' weights and layers) is used as
    it is. It appears whole or not at all.

    Args:
        distiller: Whose teachers and losses.
        inputs: An array `(N, ...)`; a list of arrays, or a dict by input name, for several inputs.
        folder: New, or of an earlier call.
        batch_size: For the teachers.

    Raises:
        DataError: Inputs that do not fit, `select` that needs labels, or a folder of something
            else.
    """
    folder = Path(folder)
    teachers = distiller.teachers
    if teachers.select != "mean":
        raise DataError(
            "select", f"{teachers.select!r} needs labels, and is not stored", "use select='mean'"
        )
    wiring = distiller.forward.wiring
    names = wiring.input_names
    arrays = as_arrays(inputs, names)
    if arrays is None:
        raise DataError("inputs", f"they are a {type(inputs).__name__}", "give arrays")
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
            str(folder), "there is something else in it", "name a folder that does not exist"
        ) from error
    if index.pop("made_of", None) != mark:
        raise DataError(
            str(folder),
            "it was made of other inputs, another teacher or other layers",
            "name another folder, or remove it",
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
    """Write one file per output and feature; the index."""
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
                # NumPy 1.26 has no types for it.
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
    """Of the inputs, the teachers' weights (as far as they are models), and what is wanted."""
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
