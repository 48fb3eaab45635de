"""`tfcompress compare`: models side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfcompress.cli.arguments import Count, File, Models
from tfcompress.cli.files import check_data
from tfcompress.cli.terminal import show
from tfcompress.errors import ConfigError
from tfcompress.model_files import check_model_file, load_model_file


@dataclass(frozen=True)
class Compare:
    """Show models side by side: zeros, MACs, size, latency, and quality on labeled data."""

    models: Models
    """.keras and .tflite files; the others are compared with the first."""
    data: File = ""
    """An .npz file with "inputs" and "labels" (class indices, of samples or of pixels)."""
    threads: Count = 1
    """Number of threads that LiteRT uses."""

    def check(self) -> None:
        """Refuse what is wrong before TensorFlow starts."""
        if not self.models:
            raise ConfigError("compare", "there is no model", "give one or more files")
        for path in self.models:
            check_model_file(path)
        if self.data:
            check_data(self.data)

    def run(self, console: Console) -> None:
        """Measure and print."""
        from tfcompress.comparison import compare
        from tfcompress.data.arrays import read_labeled

        loaded = [load_model_file(path) for path in self.models]
        samples = read_labeled(self.data) if self.data else None
        names = [Path(path).name for path in self.models]
        names = names if len(set(names)) == len(names) else list(self.models)
        show(console, compare(*loaded, data=samples, names=names, threads=self.threads).table())
