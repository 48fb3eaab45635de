"""What searches are run on: the splits, the losses, the rewards, TinyImageNet's layout."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.data.tiny_imagenet import tiny_imagenet_proxy
from bridges.yolov5.nas.proxies import ClassificationProxy, DetectionProxy, digits_proxy
from models.yolov5.build import build_detector
from tfcompress.errors import DataError


def test_digits():
    proxy = digits_proxy(32)
    assert proxy.images.shape == (1797, 3, 32, 32)
    assert proxy.shape == (3, 32, 32)
    assert proxy.images.max() == 1
    train, val = proxy.batches(0)
    assert len(train.dataset) + len(val.dataset) == 1797


class Constant(nn.Module):
    """Always the same logits."""

    def forward(self, x):
        return torch.tensor([[3.0, 0.0]]).expand(len(x), 2)


def test_accuracy_and_cross_entropy_by_hand():
    proxy = ClassificationProxy(torch.zeros(4, 3, 8, 8), torch.tensor([0, 0, 0, 1]), 2, batch=4)
    batch = (proxy.images, proxy.labels)
    assert proxy.reward(Constant(), batch) == 0.75
    right = -np.log(np.exp(3) / (np.exp(3) + 1))
    assert proxy.loss(Constant(), batch).item() == pytest.approx((3 * right + right + 3) / 4)


def test_detection_splits_the_training_images_alone(tmp_path):
    data = read_detection_data(write_shapes(tmp_path / "s", counts=(9, 4, 4), size=64))
    proxy = DetectionProxy(data, side=64, batch=2)
    train, val = proxy.batches(1)
    files = [{image.path for image in loader.dataset.store.images} for loader in (train, val)]
    assert files[0] | files[1] == {image.path for image in data.splits["train"]}
    assert not files[0] & files[1]
    first, again = (next(iter(train))[0] for _ in range(2))
    assert not torch.equal(first, again)
    detector = build_detector("yolov5n", names=data.names)
    batch = next(iter(val))
    loss = proxy.loss(detector, batch).item()
    detector.eval()
    assert proxy.reward(detector, batch) == pytest.approx(
        1 / (1 + proxy.loss(detector, batch).item())
    )
    assert loss > 0


@pytest.fixture
def tiny(tmp_path):
    names = ["n01", "n02"]
    (tmp_path / "wnids.txt").write_text("\n".join(names))
    for label, name in enumerate(names):
        (tmp_path / "train" / name / "images").mkdir(parents=True)
        for index in range(3):
            pixels = np.full((64, 64), 100 * label + index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / "images" / f"{index}.JPEG")
    (tmp_path / "val" / "images").mkdir(parents=True)
    for index in range(2):
        Image.new("RGB", (64, 64)).save(tmp_path / "val" / "images" / f"v{index}.JPEG")
    (tmp_path / "val" / "val_annotations.txt").write_text(
        "v0.JPEG\tn02\t0\t0\nv1.JPEG\tn01\t0\t0\n"
    )
    return tmp_path


def test_tiny_imagenet(tiny):
    proxy = tiny_imagenet_proxy(tiny, side=32, batch=2)
    assert proxy.images.shape == (8, 3, 32, 32)
    assert proxy.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    train, val = proxy.batches(0)
    assert (len(train.dataset), len(val.dataset)) == (6, 2)
    assert len(tiny_imagenet_proxy(tiny, per_class=2).labels) == 6


def test_tiny_imagenet_that_is_not_whole(tiny, tmp_path_factory):
    with pytest.raises(DataError, match=r"wnids\.txt: there is no such file"):
        tiny_imagenet_proxy(tmp_path_factory.mktemp("empty"))
    listing = tiny / "val" / "val_annotations.txt"
    listing.write_text("v0.JPEG\tn99\t0\n")
    with pytest.raises(DataError, match="line 1: class 'n99' is not in wnids.txt"):
        tiny_imagenet_proxy(tiny)
    listing.write_text("gone.JPEG\tn01\t0\n")
    with pytest.raises(DataError, match=r"gone\.JPEG: the image is missing"):
        tiny_imagenet_proxy(tiny)
    for file in (tiny / "train" / "n02" / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"n02.images: it holds no \.JPEG"):
        tiny_imagenet_proxy(tiny)
