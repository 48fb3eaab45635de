"""Tensor names as TensorFlow's converter makes them, worked out by hand."""

import pytest

from tfcompress.litert.tensor_layers import TensorLayers

PATHS = ["conv2d", "conv2d_1", "relu", "left", "left/conv", "right", "right/conv", "head"]


@pytest.mark.parametrize(
    ("tensor", "path"),
    [
        ("unet/conv2d_1/Conv2D", "conv2d_1"),  # tf_keras: names as they are
        ("unet_1/conv2d_1/convolution", "conv2d"),  # Keras 3: a number added
        ("unet_1/conv2d_1_1/convolution", "conv2d_1"),
        ("unet_1/conv2d_1_2/convolution", "conv2d_1"),  # called a second time
        ("unet_1/relu_1/Relu;unet_1/conv2d_1/convolution", "relu"),
        ("unet/quant_head/BiasAdd;unet/quant_head/Conv2D;", "head"),
        ("unet_1/right_1/conv_1/convolution", "right/conv"),
        ("unet/quant_left_conv/Conv2D", "left/conv"),  # the flat name of a twin
        ("PartitionedCall:0", "head"),
        ("StatefulPartitionedCall:1", "relu"),
        ("PartitionedCall:2", ""),
        ("tfl.quantize", ""),
    ],
)
def test_output_of(tensor, path):
    assert TensorLayers("unet", PATHS, ["head", "relu"]).of(tensor) == path


def test_what_is_fused():
    names = "unet_1/relu_1/Relu;unet_1/conv2d_1/convolution;unet_1/relu_1/Relu"
    assert TensorLayers("unet", PATHS).all_of(names) == ["relu", "conv2d"]
