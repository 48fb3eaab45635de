import pytest

from models.unet import multi_unet_model
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.layers import kernels, walk_layers


@pytest.mark.parametrize("flavor", ["keras", "tf_keras"])
def test_size_of_the_reference_unet(flavor):
    model = multi_unet_model(6, 256, 256, 3, flavor=flavor)
    prunable = [k for placed in walk_layers(model) for k in kernels(placed)]
    cost = count_cost(model)
    assert model.count_params() == cost.parameters == 1_941_190
    assert cost.macs == 3_037_724_672
    assert not cost.uncounted
    assert len(model.layers) == 41
    assert len(prunable) == 23
    assert sum(int(variable.numpy().size) for _, variable in prunable) == 1_939_472


def test_macs_by_hand():
    """One level, 8x8x1 to 2 classes, filters (2, 3): every convolution written out."""
    model = multi_unet_model(2, 8, 8, 1, filters=(2, 3))
    encoder = 64 * 9 * 1 * 2 + 64 * 9 * 2 * 2
    bottleneck = 16 * 9 * 2 * 3 + 16 * 9 * 3 * 3
    up = 16 * 4 * 3 * 2
    decoder = 64 * 9 * 4 * 2 + 64 * 9 * 2 * 2
    head = 64 * 2 * 2
    assert count_cost(model).macs == encoder + bottleneck + up + decoder + head


def rates(model):
    return [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"]


def test_dropout_forms():
    assert rates(multi_unet_model()) == [0.2] * 4 + [0.3] + [0.2] * 4
    assert rates(multi_unet_model(dropout=0.4)) == [0.4] * 9
    per_depth = multi_unet_model(dropout=(0.1, 0.1, 0.2, 0.2, 0.3))
    assert rates(per_depth) == [0.1, 0.1, 0.2, 0.2, 0.3, 0.2, 0.2, 0.1, 0.1]
    per_block = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    assert rates(multi_unet_model(dropout=per_block)) == list(per_block)


def test_layers_are_named_by_place():
    names = [layer.name for layer in multi_unet_model(2, 16, 16, 1, filters=(4, 8)).layers]
    assert names == [
        "image",
        "down1_a_conv",
        "down1_dropout",
        "down1_b_conv",
        "down1_pool",
        "bottom_a_conv",
        "bottom_dropout",
        "bottom_b_conv",
        "up1_transpose",
        "up1_skip",
        "up1_a_conv",
        "up1_dropout",
        "up1_b_conv",
        "head",
    ]


def test_batch_norm_stands_between_convolution_and_relu():
    model = multi_unet_model(2, 16, 16, 1, filters=(4, 8), batch_norm=True)
    kinds = [type(layer).__name__ for layer in model.layers[1:5]]
    assert kinds == ["Conv2D", "BatchNormalization", "ReLU", "Dropout"]
    assert not model.layers[1].use_bias


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(n_classes=1), "at least 2 classes"),
        (dict(height=100), "multiples of 16"),
        (dict(dropout=(0.1, 0.2)), "one number, 5 .* or 9"),
        (dict(flavor="torch"), "'keras' or 'tf_keras'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        multi_unet_model(**arguments)
