"""Two LiteRT files of one model compared operator by operator, on real data.

Operators are matched by kind and by the Keras layer in the name of their output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.errors import DataError
from tfcompress.litert.file import LiteFile
from tfcompress.litert.model import LiteModel
from tfcompress.litert.tensor_layers import TensorLayers
from tfcompress.quiet import quiet_stderr

_CASTS = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")


@dataclass(frozen=True)
class LayerNoise:
    """The error of one operator's output.

    Attributes:
        path: Path of the Keras layer that the operator belongs to; "" if its name holds no layer.
        kind: Operator, such as "CONV_2D".
        snr_db: Signal-to-noise ratio in dB.
        lost_db: Noise that this operator adds, in dB: the worst ratio of its inputs minus its own.
        rms_error: Root mean square of the difference, in the layer's units.
        max_error: Largest absolute difference, in the layer's units.
        rms_steps: `rms_error` in steps of the tensor's scale; rounding alone gives 0.29.
    """

    path: str
    kind: str
    snr_db: float
    lost_db: float
    rms_error: float
    max_error: float
    rms_steps: float


@dataclass(frozen=True)
class LayerComparison:
    """Errors of all operators that were matched.

    Attributes:
        rows: One per operator, in the order of computation.
        unmatched: Operators of the compared file that the reference lacks; nothing is guessed.
        samples: Number of samples behind the numbers.
    """

    rows: tuple[LayerNoise, ...]
    unmatched: tuple[str, ...]
    samples: int


def compare_layers(
    lite: LiteModel,
    reference: LiteModel,
    layers: TensorLayers,
    samples: Sequence[Sequence[np.ndarray]],
) -> LayerComparison:
    """Run two files on the same samples and compare the output of every operator.

    Args:
        lite: The file to judge, such as the int8 one.
        reference: The file whose values count as right, such as the float32 one.
        layers: Layer names of the Keras model that both files come from.
        samples: Inputs, one list per sample with an array (1, ...) for each input of the model.

    Returns:
        The errors of `lite`, in the units of the layers.

    Raises:
        DataError: No operator of the two files could be matched.
    """
    ours, theirs = (_keyed(m.file, layers) for m in (lite, reference))
    pairs = {key: (ours[key], theirs[key]) for key in ours if key in theirs}
    if not pairs:
        raise DataError(
            "LiteRT file",
            f"none of its {len(ours)} operators bears the name of a layer of {layers.model_name!r}",
            "give the model that the file was converted from",
        )
    sums = {key: np.zeros(3) for key in pairs}  # signal power, error power, largest error
    counts = dict.fromkeys(pairs, 0)
    for values, wanted in _outputs(lite, reference, samples, list(pairs.values())):
        for key, value, want in zip(pairs, values, wanted, strict=True):
            difference = value - want
            sums[key][:2] += np.square(want).sum(), np.square(difference).sum()
            sums[key][2] = max(sums[key][2], np.abs(difference).max())
            counts[key] += want.size
    rows = _rows(lite, pairs, sums, counts)
    unmatched = [f"{kind} {path}".strip() for kind, path, _ in ours if (kind, path, _) not in pairs]
    return LayerComparison(tuple(rows), tuple(unmatched), len(samples))


Key = tuple[str, str, int]
"""Operator kind, layer path, and which of these it is."""


def _keyed(file: LiteFile, layers: TensorLayers) -> dict[Key, int]:
    """Index of each operator's first output by what it is."""
    seen: dict[tuple[str, str], int] = {}
    found = {}
    for op in file.operators:
        if op.kind in _CASTS or not op.outputs:
            continue
        path = layers.of(file.tensors[op.outputs[0]].name)
        number = seen.get((op.kind, path), 0)
        seen[op.kind, path] = number + 1
        found[op.kind, path, number] = op.outputs[0]
    return found


def _outputs(
    lite: LiteModel,
    reference: LiteModel,
    samples: Sequence[Sequence[np.ndarray]],
    indices: Sequence[tuple[int, int]],
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Real values of the tensors of both files, sample by sample."""
    runs = [_Inspector(lite), _Inspector(reference)]
    for sample in samples:
        ours, theirs = (
            run.values(sample, [pair[i] for pair in indices]) for i, run in enumerate(runs)
        )
        yield ours, theirs


class _Inspector:
    """An interpreter whose tensors can all be read (so without XNNPACK)."""

    def __init__(self, lite: LiteModel) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.lite = lite
        with quiet_stderr():
            self.interpreter = Interpreter(
                model_content=lite.content,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
        self.interpreter.allocate_tensors()
        self.details = {d["index"]: d for d in self.interpreter.get_tensor_details()}
        self.runner = self.interpreter.get_signature_runner()

    def values(self, sample: Sequence[np.ndarray], indices: Sequence[int]) -> list[np.ndarray]:
        ports = self.lite.inputs
        self.runner(**{p.key: p.quantize(a) for p, a in zip(ports, sample, strict=True)})
        return [self._real(index) for index in indices]

    def _real(self, index: int) -> np.ndarray:
        value = self.interpreter.get_tensor(index).astype(np.float64)
        scale, zero_point = self.details[index]["quantization"]
        return (value - zero_point) * scale if scale else value

    def scale(self, index: int) -> float:
        return float(self.details[index]["quantization"][0])


def _rows(
    lite: LiteModel,
    pairs: dict[Key, tuple[int, int]],
    sums: dict[Key, np.ndarray],
    counts: dict[Key, int],
) -> Iterator[LayerNoise]:
    """In the order of the file; an operator's loss is relative to its worst input."""
    inspector = _Inspector(lite)
    by_tensor = {index: key for key, (index, _) in pairs.items()}
    snr: dict[int, float] = {}
    for op in lite.file.operators:
        known = [snr[i] for i in op.inputs if i in snr]
        if op.kind in _CASTS:
            snr.update((i, min(known)) for i in op.outputs if known)
            continue
        for index in op.outputs:
            key = by_tensor.get(index)
            if key is None:
                snr.update({index: min(known)} if known else {})
                continue
            signal, error, largest = sums[key]
            snr[index] = 10 * math.log10(max(signal, 1e-30) / max(error, 1e-30))
            before = min(known) if known else snr[index]
            rms = math.sqrt(error / max(1, counts[key]))
            scale = inspector.scale(index)
            yield LayerNoise(
                path=key[1],
                kind=key[0],
                snr_db=snr[index],
                lost_db=before - snr[index],
                rms_error=rms,
                max_error=float(largest),
                rms_steps=rms / scale if scale else 0.0,
            )
