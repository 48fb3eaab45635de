"""Every private name is in the installed packages; one that is gone is named, with the fix."""

import functools
import gc
import importlib
import importlib.metadata
import pkgutil

import pytest

import tfcompress.internals
from tests.internals.owners import OWNERS
from tfcompress.errors import VersionError
from tfcompress.internals.keras import UPDATE_AVERAGES, after_averages
from tfcompress.internals.names import InnerName, PrivateAttribute
from tfcompress.internals.onnx2keras import CONVERTERS, with_converters
from tfcompress.twin.legacy import load_tfmot


def names():
    """(name, package): each name of the room, for each package that has it."""
    for module in pkgutil.iter_modules(tfcompress.internals.__path__):
        content = vars(importlib.import_module(f"tfcompress.internals.{module.name}"))
        for value in content.values():
            for item in value.values() if isinstance(value, dict) else (value,):
                if isinstance(item, InnerName):
                    yield item, item.package
                elif isinstance(item, PrivateAttribute):
                    yield from ((item, package) for package in item.packages)


ALL = list(names())


@functools.cache
def owners(package):
    return OWNERS[package]()


@pytest.mark.parametrize(("name", "package"), ALL, ids=lambda value: str(value).replace(" ", "-"))
@pytest.mark.filterwarnings("ignore")  # NNI's and TFMOT's, as they are imported
def test_the_installed_version_has_it(name, package):
    if isinstance(name, InnerName):
        if package == "tensorflow-model-optimization":
            load_tfmot()
        name.get()
        return
    found = owners(package)[name.owner]
    for owner in found if isinstance(found, list) else [found]:
        name.of(owner)


def test_each_name_stands_once():
    inner = [str(name) for name, _ in ALL if isinstance(name, InnerName)]
    attributes = [
        (package, name.owner, name.name)
        for name, package in ALL
        if isinstance(name, PrivateAttribute)
    ]
    assert len(set(inner)) == len(inner)
    assert len(set(attributes)) == len(attributes)
    assert len(ALL) > 70


def test_the_versions_are_those_installed():
    """A new pin of a package is a new line in its file, written when the lookups have passed."""
    for name, package in ALL:
        assert importlib.metadata.version(package).partition("+")[0] in name.versions, name


KERAS = importlib.metadata.version("keras")


def test_a_name_that_is_gone():
    import keras

    lost = PrivateAttribute(("keras",), "layer", "_lost", "read a model", "keras 3.0 to 3.9")
    layer = keras.layers.ReLU()
    message = (
        f"^keras {KERAS}: _lost of a layer is missing, which tfcompress needs to read a model. "
        "Fix: install a version that has it: keras 3.0 to 3.9$"
    )
    with pytest.raises(VersionError, match=message):
        lost.of(layer)
    with pytest.raises(VersionError, match=message):
        lost.put(layer, 1)
    assert lost.of(layer, None) is None
    assert not hasattr(layer, "_lost")
    for module, name, what in (
        ("keras.src.lost", "Lost", "keras.src.lost.Lost"),
        ("keras.losses", "Lost", "keras.losses.Lost"),
        ("keras.src.lost", "", "keras.src.lost"),
    ):
        lost = InnerName("keras", module, name, "read a model", "3.0 to 3.9")
        with pytest.raises(VersionError, match=f"^keras {KERAS}: it has no {what}, which"):
            lost.get()


def test_what_is_replaced_comes_back():
    from nni.experiment import launcher

    from tfcompress.internals.nni import CHECK_SERVER

    before = launcher._check_rest_server
    with pytest.raises(ZeroDivisionError), CHECK_SERVER.replaced(print):
        assert launcher._check_rest_server is print
        1 / 0  # noqa: B018
    assert launcher._check_rest_server is before
    converters = dict(CONVERTERS.get())
    with with_converters({"Conv": print, "New": print}):
        assert CONVERTERS.get()["Conv"] is CONVERTERS.get()["New"] is print
    assert CONVERTERS.get() == converters


class User:
    """Needs the hook."""


def test_an_optimizer_class_is_as_it_was_when_the_last_mask_is_gone(library):
    class Mine(library.optimizers.SGD):
        pass

    before, seen = UPDATE_AVERAGES.of(Mine), []
    first, second = User(), User()
    for user in (first, second, first):
        after_averages(Mine, lambda optimizer, variables: seen.append(len(variables)), user)
    model = library.Sequential([library.Input((4,)), library.layers.Dense(2)])
    for optimizer in (Mine(use_ema=True), Mine()):
        optimizer.build(model.trainable_variables)
        UPDATE_AVERAGES.of(optimizer)(model.trainable_variables)
    assert seen == [2]  # once, and only where there are averages
    del first
    gc.collect()
    assert UPDATE_AVERAGES.of(Mine) is not before
    del second, user
    gc.collect()
    assert UPDATE_AVERAGES.of(Mine) is before
