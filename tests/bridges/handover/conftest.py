"""One detector for all tests, and one thread for PyTorch beside TensorFlow's and ONNX's own."""

import pytest
import torch

from tests.bridges.handover.sample_models import detector


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def yolov5n(one_thread):
    """For squares of 64 pixels, two classes; tests do not change it."""
    return detector()
