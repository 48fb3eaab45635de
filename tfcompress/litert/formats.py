"""How weights and activations are stored in a LiteRT file, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfcompress.errors import ConfigError

Number = Literal["float32", "float16", "int8", "int16"]


@dataclass(frozen=True)
class Recipe:
    """Number formats of a conversion.

    Attributes:
        name: Key in `RECIPES`.
        weights: Format of the stored weights.
        activations: Format in which operators compute; "float32" with int8 weights means that
            activations are quantized on the fly ("dynamic range").
        ports: Format of the model's inputs and outputs.
        summary: When to use it.
        can_be_sparse: Whether the runtime takes sparsely encoded weights in this format.
    """

    name: str
    weights: Number
    activations: Number
    ports: Number
    summary: str
    can_be_sparse: bool = False

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations have to be measured on data."""
        return self.activations in ("int8", "int16")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32", "float32", "float32", "float32", "the reference", True),
        Recipe(
            "float16",
            "float16",
            "float32",
            "float32",
            "half the size, same speed on a CPU",
            True,
        ),
        Recipe(
            "dynamic_int8",
            "int8",
            "float32",
            "float32",
            "quarter size without any data",
        ),
        Recipe(
            "int8",
            "int8",
            "int8",
            "int8",
            "full integer, int8 in and out: size and speed",
            True,
        ),
        Recipe(
            "int16x8",
            "int8",
            "int16",
            "int16",
            "an accuracy reference: XNNPACK has no such kernels, so it is many times slower "
            "than float32 on x86",
        ),
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in RECIPES:
        raise ConfigError("recipe", f"{name!r} is unknown", f"use one of {', '.join(RECIPES)}")
    return RECIPES[name]
