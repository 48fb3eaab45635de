"""`tfcompress quantize`: calibrated on arrays or images, in a number format."""

import pytest

from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel


@pytest.mark.parametrize("calibration", ["inputs.npy", "test.npz", "images"])
def test_quantize(folder, run, tmp_path, calibration):
    out = tmp_path / "model.tflite"
    run("quantize", folder / "model.keras", out, "--calibration", folder / calibration)
    lite = LiteModel.load(out)
    assert (lite.inputs[0].dtype, lite.float_ops) == ("int8", ())
    scale = lite.inputs[0].scale
    assert scale == pytest.approx(1 / 255, rel=0.05)  # inputs go from 0 to 1


@pytest.mark.parametrize("flag", [["--recipe", "float16"], ["--recipe=float16"]])
def test_the_old_flag_works_and_says_its_new_name(folder, run, tmp_path, flag):
    out = tmp_path / "model.tflite"
    with pytest.warns(DeprecationWarning, match="the flag --recipe of quantize is now called '--f"):
        run("quantize", folder / "model.keras", out, *flag)
    (first_kernel, *_) = [t for _, t in LiteModel.load(out).file.weights()]
    assert first_kernel.dtype == "float16"


def test_the_help_lists_the_formats(help_of):
    *most, last = FORMATS
    assert f"Number format: {', '.join(most)} or {last}. (default: int8)" in help_of("quantize")
