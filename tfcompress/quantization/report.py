"""Which layers of an int8 model lose accuracy, compared with the float model on real data.

```python
report = debug_quantization(model, lite, images)
print(report)                                          # worst first
better = to_litert(model, "int8", images, keep_float=report.worst(2))
```
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tfcompress.litert.calibration import calibration_samples
from tfcompress.litert.compare import LayerComparison, compare_layers
from tfcompress.litert.compare import LayerNoise as LayerNoise  # the type of a report's rows
from tfcompress.litert.converter import input_specs
from tfcompress.litert.model import LiteModel, to_litert
from tfcompress.litert.tensor_layers import TensorLayers
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@short_repr
@dataclass(frozen=True)
class QuantizationReport(LayerComparison):
    """Errors of all operators of a quantized file that were matched with the float file's.

    Attributes:
        rows: One per operator, in the order of computation.
        unmatched: Operators of the quantized file that the float file lacks; nothing is guessed.
        samples: Number of samples behind the numbers.
    """

    def worst(self, count: int) -> list[str]:
        """Paths of the layers that add most noise, for `keep_float`."""
        order = sorted(self.rows, key=lambda row: -row.lost_db)
        paths = dict.fromkeys(row.path for row in order if row.path)
        return list(paths)[:count]

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        rows = [asdict(row) for row in self.rows]
        return {"rows": rows, "unmatched": list(self.unmatched), "samples": self.samples}

    def table(self) -> Table:
        """The report as a table, the lowest signal-to-noise first."""
        table = Table(
            ("layer", "operator", "SNR", "lost here", "rms error", "max error", "rms in steps"),
            title="int8 against float, layer by layer, worst first",
            drop=("rms in steps", "max error", "rms error", "operator"),
        )
        for row in sorted(self.rows, key=lambda row: row.snr_db):
            table.add(
                row.path,
                row.kind,
                f"{row.snr_db:.1f}",
                f"{row.lost_db:.1f}",
                f"{row.rms_error:.3g}",
                f"{row.max_error:.3g}",
                f"{row.rms_steps:.2f}" if row.rms_steps else "float",
            )
        table.note(f"SNR in dB, on {self.samples} samples; rounding alone is 0.29 steps")
        if self.unmatched:
            table.note(f"not compared: {', '.join(self.unmatched)}")
        return table

    def points(self) -> list[tuple[str, str, float]]:
        """`(layer, operator, SNR in dB)` in the order of computation, for `plot_layer_noise`."""
        return [(row.path or row.kind, row.kind, row.snr_db) for row in self.rows]

    def plot(self, name: str = "int8") -> Figure:
        """Draw the signal-to-noise ratio of each operator as a matplotlib figure."""
        from tfcompress.reporting.plots import plot_layer_noise

        return plot_layer_noise({name: self.points()})

    def __str__(self) -> str:
        return str(self.table())


def debug_quantization(
    model: Any, lite: LiteModel, data: Any, at_most: int = 32
) -> QuantizationReport:
    """Compare every operator of an int8 LiteRT model with the float model's.

    Args:
        model: The float Keras model that `lite` was converted from (or, after quantization-aware
            training, `QuantizeAware.model`).
        lite: The quantized LiteRT model.
        data: Inputs, in any form that calibration takes.
        at_most: Largest number of samples to run.

    Returns:
        The report. Operators are matched by kind and layer name.

    Raises:
        DataError: The data does not fit the model, or no operator could be matched.
    """
    names, shapes, _ = input_specs(model)
    samples = calibration_samples(data, names, shapes, at_most)
    finder = TensorLayers.of_model(model)
    reference = to_litert(model, "float32")
    compared = compare_layers(lite, reference, finder, samples)
    return QuantizationReport(compared.rows, compared.unmatched, compared.samples)
