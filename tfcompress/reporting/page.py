"""A self-contained HTML page: tables, pictures embedded, no script and no outside resource."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from tfcompress.atomic import write_text
from tfcompress.reporting.tables import Table


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Heading.
        text: Paragraphs, in plain text.
        tables: Tables.
        pictures: (caption, PNG file).
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[str, Path]] = field(default_factory=tuple)


def write_page(
    path: str | Path,
    title: str,
    summary: str,
    sections: Sequence[Section],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> None:
    """Write the page atomically.

    Args:
        path: The HTML file.
        title: Heading of the page.
        summary: One sentence below it.
        sections: The page's parts.
        config: The run's configuration, shown at the end.
        environment: Versions and machine, shown at the end.
    """
    source = resources.files("tfcompress.reporting").joinpath("templates/report.html.jinja")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        source.read_text(encoding="utf-8")
    )
    html = template.render(
        title=title,
        summary=summary,
        sections=sections,
        embed=_embedded,
        config=json.dumps(config, indent=2, default=str),
        environment=json.dumps(environment, indent=2, default=str),
    )
    write_text(path, html)


def _embedded(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
