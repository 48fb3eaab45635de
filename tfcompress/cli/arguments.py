"""Types of the verbs' arguments, which say what `--help` calls them: `MODEL`, `--batch N`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg


def _shown_as(metavar: str) -> Any:
    """A name for the value; its default is shown unless it is None or empty."""

    def hint(default: str) -> str:
        return "" if default in ("None", "''", "") else f"(default: {default})"

    return arg(metavar=metavar, help_behavior_hint=hint)


Model = Annotated[str, Positional, arg(metavar="MODEL")]
Models = Annotated[tuple[str, ...], Positional, _shown_as("MODEL ...")]
Output = Annotated[str, Positional, arg(metavar="OUTPUT")]
Folder = Annotated[str, Positional, arg(metavar="FOLDER")]
File = Annotated[str, _shown_as("FILE")]
Layers = Annotated[tuple[str, ...], _shown_as("LAYER ...")]
Count = Annotated[int, _shown_as("N")]
Number = Annotated[float, _shown_as("NUMBER")]
Share = Annotated[float, _shown_as("SHARE")]
Target = Annotated[float | None, _shown_as("SHARE")]
Format = Annotated[str, _shown_as("FORMAT")]
Scope = Annotated[Literal["layer", "global", "group"] | None, _shown_as("SCOPE")]
Score = Annotated[str, _shown_as("SCORE")]
Pattern = Annotated[str, _shown_as("PATTERN")]
Loss = Annotated[str, _shown_as("LOSS")]
