"""Teachers' outputs on disk: the same training without the teacher."""

import keras
import numpy as np
import pytest

from tests.distillation.tiny import X, Y, feature_pair, net
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import Hint, SoftTargets
from tfcompress.distillation.store import store_teacher
from tfcompress.errors import DataError


def make(teacher, **more):
    keras.utils.set_random_seed(0)
    distiller = Distiller(teacher, net(4), [SoftTargets(), Hint(**feature_pair("hidden"))], **more)
    distiller.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return distiller


def test_it_trains_as_with_the_teacher_itself(tmp_path):
    teacher = net(16)
    stored, live = make(teacher), make(teacher)
    store = store_teacher(stored, X, tmp_path / "store", batch_size=24)
    before = stored.fit(store.dataset(X, Y, 16, seed=None), epochs=3, verbose=0).history
    after = live.fit(X, Y, batch_size=16, epochs=3, shuffle=False, verbose=0).history
    for name in ("loss", "soft_targets", "hint"):
        np.testing.assert_allclose(before[name], after[name], rtol=1e-4)


def test_the_teacher_is_asked_once(tmp_path):
    asked = []

    def teacher(x):
        asked.append(x.shape)
        return net_outputs(x)

    inner = net(16, activation=None)
    net_outputs = lambda x: {"logits": inner(x), "hidden": inner(x)}  # noqa: E731
    distiller = make(teacher)
    store = store_teacher(distiller, X, tmp_path / "store")
    count = len(asked)
    again = store_teacher(distiller, X, tmp_path / "store")
    assert again == store
    distiller.fit(store.dataset(X, Y), epochs=2, verbose=0)
    assert len(asked) == count
    order = [np.concatenate([y for _, y in store.dataset(X, np.arange(64))]) for _ in range(1)][0]
    assert sorted(order) == list(range(64))
    assert list(order) != list(range(64))
    for x, y in store.dataset(X, np.arange(64), batch_size=7):
        np.testing.assert_array_equal(x["inputs"], X[y])
        np.testing.assert_allclose(
            x["teacher"]["logits"][0], inner.predict(X, verbose=0)[y], rtol=1e-5, atol=1e-6
        )


def test_without_labels(tmp_path):
    distiller = Distiller(net(16), net(4), SoftTargets(), task_weight=0.0)
    distiller.compile(keras.optimizers.Adam(1e-2))
    store = store_teacher(distiller, X, tmp_path / "store")
    history = distiller.fit(store.dataset(X), epochs=5, verbose=0).history
    assert history["soft_targets"][-1] < history["soft_targets"][0]


def test_what_does_not_belong_is_refused(tmp_path):
    teacher = net(16)
    store = store_teacher(make(teacher), X, tmp_path / "store")
    with pytest.raises(DataError, match="other inputs, another teacher"):
        store_teacher(make(teacher), X + 1, tmp_path / "store")
    teacher.get_layer("head").bias.assign([1.0, 0.0, 0.0])
    with pytest.raises(DataError, match="other inputs, another teacher"):
        store_teacher(make(teacher), X, tmp_path / "store")
    with pytest.raises(DataError, match="it holds 64 samples"):
        store.dataset(X[:5], Y[:5])
    with pytest.raises(DataError, match="does not hold stored teacher outputs"):
        store_teacher(make(teacher), X, tmp_path)
    with pytest.raises(DataError, match="needs labels"):
        store_teacher(make([teacher, net(16)], select="best"), X, tmp_path / "new")
    with pytest.raises(DataError, match="'?input"):
        store_teacher(make(teacher), X[:, :3], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_failing_teacher_leaves_no_folder(tmp_path):
    def teacher(x):
        raise RuntimeError("broken")

    distiller = Distiller(teacher, net(4), SoftTargets())
    with pytest.raises(RuntimeError):
        store_teacher(distiller, X, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
