"""Cost of PyTorch models: by hand, and the published numbers."""

import pytest
import torch
from torch import nn

from bridges.yolov5.detector.cost import cost_table, count_torch_cost, measure_torch_latency
from models.yolov5.build import build_detector
from models.yolov5.modules import Conv


def test_macs_by_hand():
    model = nn.Sequential(Conv(3, 8, 3, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 5))
    cost = count_torch_cost(model, (3, 16, 16))
    # 8 x 8 places of 3 * 9 * 8 products, and 128 * 5; the BatchNorm is folded into a bias
    assert cost.macs == 64 * 216 + 640
    assert cost.parameters == 216 + 8 + 640 + 5
    assert count_torch_cost(Conv(8, 8, 3, g=8), (8, 4, 4)).macs == 16 * 72


@pytest.mark.parametrize(("name", "published"), [("yolov5n", 4.5), ("yolov5s", 16.5)])
def test_published_flops(name, published):
    """Published FLOPs at 640 pixels, 10^9, two for each MAC, in one decimal."""
    cost = count_torch_cost(build_detector(name))
    assert 2 * cost.macs / 1e9 == pytest.approx(published, abs=0.12)


def test_counting_leaves_the_model_alone():
    model = Conv(3, 8, 3).train()
    count_torch_cost(model, (3, 8, 8))
    assert model.training
    assert isinstance(model.bn, nn.BatchNorm2d)


def test_latency_of_two_models():
    threads = torch.get_num_threads()
    models = [nn.Sequential(Conv(3, width, 3), Conv(width, width, 3)) for width in (4, 64)]
    small, large = measure_torch_latency(models, (3, 64, 64), repeats=5, warmup=1)
    assert (small.runtime, small.threads, small.batch, small.repeats) == ("PyTorch", 1, 1, 5)
    assert small.min_ms < large.min_ms  # 64 of the first's channels cost a hundred times as much
    assert torch.get_num_threads() == threads
    costs = [count_torch_cost(model, (3, 64, 64)) for model in models]
    assert len(cost_table(["small", "large"], costs, [small, large]).rows) == 2
