"""segmentation_models on Keras 3."""

import os

import keras
import pytest

from models.backbones import segmentation_model


def test_a_unet_of_another_package():
    model = segmentation_model("Unet", "resnet18", (64, 64, 1), 3)
    assert isinstance(model, keras.Model)
    assert model.output_shape == (None, 64, 64, 3)
    assert "SM_FRAMEWORK" not in os.environ
    with pytest.raises(ValueError, match="resnet17"):
        segmentation_model("Unet", "resnet17", (64, 64, 1), 3)
