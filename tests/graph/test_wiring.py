import numpy as np
import pytest

from tests.pruning.channels.zoo import ZOO, inputs_for
from tfcompress.errors import LayerError
from tfcompress.graph.wiring import read_wiring, run


def test_calls_are_in_running_order_with_edges(library):
    wiring = read_wiring(ZOO["residual"](library))
    assert [call.path for call in wiring.calls][0] == "stem"
    made = {tensor.index for tensor in wiring.inputs}
    for call in wiring.calls:
        assert {tensor.index for tensor in call.inputs} <= made
        made |= {tensor.index for tensor in call.outputs}
    add = next(call for call in wiring.calls if call.path == "add1")
    makers = {call.outputs[0].index: call.path for call in wiring.calls}
    assert [makers[t.index] for t in add.inputs] == ["stem", "n1"]
    assert add.outputs[0].shape == (None, 8, 8, 8)


def test_nested_models_are_one_call_or_spliced_in(library):
    model = ZOO["nested_and_shared"](library)
    outside = [call.path for call in read_wiring(model).calls]
    assert outside.count("block") == outside.count("shared") == outside.count("tail") == 2
    inside = [call.path for call in read_wiring(model, flat=True).calls]
    assert inside.count("block/c") == inside.count("tail/s2") == 2
    assert "block" not in inside


@pytest.mark.parametrize("name", ZOO)
def test_running_the_wiring_is_running_the_model(library, name):
    model = ZOO[name](library)
    inputs = inputs_for(model)
    wiring = read_wiring(model, flat=True)
    last = wiring.outputs[0].index
    values = run(wiring, inputs if isinstance(inputs, list) else [inputs], {last})
    assert set(values) == {last}
    wanted = model(inputs, training=False)
    wanted = wanted[0] if isinstance(wanted, (list, tuple)) else wanted
    np.testing.assert_allclose(np.asarray(values[last]), np.asarray(wanted), atol=1e-5)


def test_who_decides_whether_a_call_trains(library):
    """The call's own `training` in tf_keras, whoever runs the whole in Keras 3."""
    inputs = library.Input((3,))
    normalized = library.layers.BatchNormalization(epsilon=0)(inputs, training=False)
    model = library.Model(inputs, normalized)
    x = np.array([[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]], np.float32)
    wiring = read_wiring(model)
    last = wiring.outputs[0].index
    made = np.asarray(run(wiring, [x], {last}, training=True)[last])
    of_the_batch = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    by_itself = x  # the moving mean is 0, the moving variance 1
    expected = of_the_batch if library.__name__ == "keras" else by_itself
    np.testing.assert_allclose(made, expected, atol=1e-5)
    np.testing.assert_allclose(np.asarray(model(x, training=True)), expected, atol=1e-5)


def test_subclassed_model_is_an_error_with_a_fix(library):
    class Own(library.Model):
        def __init__(self):
            super().__init__()
            self.dense = library.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(LayerError, match=r"subclassed.*keras.Model\(x, model.call\(x\)\)"):
        read_wiring(model)
    x = library.Input((3,))
    functional = library.Model(x, model.call(x))
    assert [call.kind for call in read_wiring(functional).calls] == ["Dense"]
