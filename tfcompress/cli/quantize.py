"""`tfcompress quantize`: a LiteRT file in one of the number formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfcompress.cli.arguments import Count, File, Format, Layers, Model, Number, Output
from tfcompress.cli.files import check_data, check_keras_file, check_output, keras_model
from tfcompress.cli.terminal import show
from tfcompress.errors import ConfigError
from tfcompress.litert.formats import format_named


@dataclass(frozen=True)
class Quantize:
    """Convert to LiteRT: int8 with calibration, or another number format."""

    model: Model
    """A .keras file."""
    output: Output
    """The .tflite file to write."""
    format: Format = "int8"
    """Number format: float32, float16, dynamic_int8, int8 or int16x8."""
    calibration: File = ""
    """For int8 and int16x8: about 100 inputs, a .npy or .npz file or a folder of images."""
    divide_by: Number = 255.0
    """Number that the pixels of images, 0 to 255, are divided by."""
    samples: Count = 200
    """Largest number of samples to calibrate on."""
    keep_float: Layers = ()
    """Layers that stay in float (names, paths, globs)."""

    def check(self) -> None:
        """Refuse what is wrong before TensorFlow starts."""
        number_format = format_named(self.format)
        check_output(self.output, ".tflite")
        check_keras_file(self.model)
        if not number_format.needs_calibration:
            return
        if not self.calibration:
            raise ConfigError(
                "calibration",
                f"{self.format} measures ranges on data, and none is given",
                "give --calibration file.npy or a folder of images, or --format dynamic_int8",
            )
        check_data(self.calibration, folder=True)

    def run(self, console: Console) -> None:
        """Convert, write the file, read it back, compare."""
        from tfcompress.comparison import compare
        from tfcompress.data.arrays import read_inputs
        from tfcompress.litert.model import LiteModel, to_litert
        from tfcompress.pipeline.steps import LiteOptions

        options = LiteOptions(format=self.format, samples=self.samples, keep_float=self.keep_float)
        model = keras_model(self.model)
        inputs = None
        if format_named(options.format).needs_calibration:
            inputs = read_inputs(self.calibration, model, self.divide_by, options.samples)
        with console.status("converting"):
            to_litert(
                model,
                options.format,
                inputs,
                calibration_samples_at_most=options.samples,
                keep_float=options.keep_float,
            ).save(self.output)
        lite = LiteModel.load(self.output)
        names = [f"{Path(self.model).stem} in float32", Path(self.output).name]
        show(console, compare(to_litert(model), lite, names=names).table())
        if lite.float_ops:
            console.print(f"in float: {', '.join(lite.float_ops)}", highlight=False)
        console.print(f"wrote {self.output}", style="bold", highlight=False)
