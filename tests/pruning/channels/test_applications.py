"""A fast part of `make bench-applications`: real architectures, shrunk and equal to masked ones."""

import pytest

from benchmarks.applications import application_makers, check_model

NAMES = (
    "ConvNeXtTiny", "DenseNet121", "EfficientNetV2B0", "MobileNetV2", "MobileNetV3Small",
    "NASNetMobile", "ResNet50V2",
)  # fmt: skip


def test_there_are_forty_applications():
    assert len(dict(application_makers())) == 40


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_shrunk_application_equals_the_masked_one(name):
    row = check_model(name, dict(application_makers())[name], 0.7)
    assert row.result == "ok"
    assert row.error <= 1e-5
    assert row.kept == pytest.approx(0.7, rel=0.02)
