"""`tfcompress inspect`: cost, zeros and groups of channels of a file."""

import keras

from tfcompress.evaluation.cost import count_cost


def test_inspect(folder, run):
    model = keras.saving.load_model(folder / "model.keras")
    shown = run("inspect", folder / "model.keras")
    assert f"{count_cost(model).macs:,}" in shown
    assert "16 of 16" in shown  # channels of `first` that may go
    assert "outputs" in shown or "output" in shown  # the classes stay, and why
