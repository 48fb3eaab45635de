"""How weights and activations are stored in a LiteRT file, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfcompress.errors import ConfigError

Number = Literal["float32", "float16", "int8", "int16"]


@dataclass(frozen=True)
class NumberFormat:
    """Number format of a LiteRT file.

    Attributes:
        name: Key in `FORMATS`.
        weights: Number type of the stored weights.
        activations: Number type in which operators compute; "float32" with int8 weights means that
            activations are quantized on the fly ("dynamic range").
        ports: Number type of the model's inputs and outputs.
        summary: When to use it.
        can_be_sparse: Whether the runtime reads sparsely encoded weights in this format.
    """

    name: str
    weights: Number
    activations: Number
    ports: Number
    summary: str
    can_be_sparse: bool = False

    @property
    def needs_calibration(self) -> bool:
        """Whether the ranges of activations must be measured on data."""
        return self.activations in ("int8", "int16")


FORMATS: dict[str, NumberFormat] = {
    format.name: format
    for format in (
        NumberFormat("float32", "float32", "float32", "float32", "the reference", True),
        NumberFormat(
            "float16",
            "float16",
            "float32",
            "float32",
            "half the size, same speed on a CPU",
            True,
        ),
        NumberFormat(
            "dynamic_int8",
            "int8",
            "float32",
            "float32",
            "quarter size without any data",
        ),
        NumberFormat(
            "int8",
            "int8",
            "int8",
            "int8",
            "full integer, int8 in and out: size and speed",
            True,
        ),
        NumberFormat(
            "int16x8",
            "int8",
            "int16",
            "int16",
            "an accuracy reference: XNNPACK has no such kernels, so it is many times slower "
            "than float32 on x86",
        ),
    )
}


def format_named(name: str) -> NumberFormat:
    """The number format with this name.

    Raises:
        ConfigError: No number format has this name.
    """
    if name not in FORMATS:
        raise ConfigError("format", f"{name!r} is unknown", f"use one of {', '.join(FORMATS)}")
    return FORMATS[name]
