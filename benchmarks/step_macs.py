"""Work of a training step, counted in its graph, so that noise of the clock does not matter."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

_OUTPUT_AND_KERNEL = {
    "Conv2D": lambda op: (op.outputs[0], op.inputs[1]),
    "Conv2DBackpropFilter": lambda op: (op.inputs[2], op.outputs[0]),
    "Conv2DBackpropInput": lambda op: (op.inputs[2], op.inputs[1]),
}
"""By kind: the tensors that have the shapes of the convolution's output and of its kernel."""


def step_macs(model: Any, x: Any, y: Any) -> int:
    """Multiply-accumulates of the convolutions, forward and backward, in one training step.

    Operations whose result nobody reads are not counted: TensorFlow removes them.

    Args:
        model: A compiled Keras model with `train_step`.
        x: A batch of inputs.
        y: Its labels.
    """
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda x, y: model.train_step((x, y))).get_concrete_function(x, y)
    waiting = [*(tensor.op for tensor in step.graph.outputs), *step.graph.control_outputs]
    needed = set()
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    total = 0
    for op in needed:
        if op.type in _OUTPUT_AND_KERNEL:
            output, kernel = _OUTPUT_AND_KERNEL[op.type](op)
            total += math.prod(output.shape) * math.prod(kernel.shape[:3])
    return total
