"""Latency of one batch, after a warm-up. Models take turns, so that drift affects all alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfcompress.litert.amx import has_amx
from tfcompress.litert.model import LiteModel
from tfcompress.quiet import quiet_stderr
from tfcompress.short_repr import short_repr

WITH_AMX = " with AMX"


@short_repr
@dataclass(frozen=True)
class Latency:
    """Time of one forward pass.

    Attributes:
        median_ms: Median time over the timed runs, in milliseconds.
        p90_ms: 90th percentile, in milliseconds.
        min_ms: Fastest run, in milliseconds.
        repeats: Number of timed runs.
        threads: Number of threads of the runtime.
        batch: Number of samples per run.
        runtime: Name of the runtime: "LiteRT XNNPACK" (with `WITH_AMX` if it uses AMX), "LiteRT
            reference kernels", "TensorFlow", or the name that a `Runner` gives.
    """

    median_ms: float
    p90_ms: float
    min_ms: float
    repeats: int
    threads: int
    batch: int
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.2f} ms median, {self.p90_ms:.2f} ms p90 "
            f"({self.runtime}, {self.threads} thread(s), batch {self.batch}, {self.repeats} runs)"
        )


@short_repr
@dataclass(frozen=True)
class Runner:
    """A model of any framework, ready to be timed.

    Attributes:
        run: Function that runs the model once and waits for the result.
        threads: Number of threads of its runtime.
        batch: Number of samples per run.
        runtime: Name of the runtime.
    """

    run: Callable[[], Any]
    threads: int
    batch: int
    runtime: str


def measure_latency(
    models: Sequence[Any],
    repeats: int = 30,
    warmup: int = 5,
    threads: int = 1,
    xnnpack: bool = True,
    seed: int = 0,
) -> list[Latency]:
    """Measure the latency of models on random input.

    Each round runs every model once, so a slow moment of the machine affects all of them. Keras
    models run with batch size 1, LiteRT files with the batch size they were converted for.

    Args:
        models: Keras models with fixed input sizes, `LiteModel`s and `Runner`s, in any mix.
        repeats: Number of timed rounds.
        warmup: Number of rounds before them, which are not timed.
        threads: Number of threads of the LiteRT interpreter. TensorFlow's thread pool is fixed when
            TensorFlow starts; its size is reported.
        xnnpack: Whether LiteRT uses the XNNPACK delegate, its default. False uses its reference
            kernels.
        seed: Seed of the random input.

    Returns:
        One `Latency` per model, in the same order.
    """
    generator = np.random.default_rng(seed)
    runs = [
        model if isinstance(model, Runner) else _runner(model, threads, xnnpack, generator)
        for model in models
    ]
    times = np.zeros((warmup + repeats, len(runs)))
    for turn in range(warmup + repeats):
        for i, runner in enumerate(runs):
            start = time.perf_counter()
            runner.run()
            times[turn, i] = 1000 * (time.perf_counter() - start)
    timed = times[warmup:]
    return [
        Latency(
            median_ms=float(np.median(timed[:, i])),
            p90_ms=float(np.percentile(timed[:, i], 90)),
            min_ms=float(timed[:, i].min()),
            repeats=repeats,
            threads=runner.threads,
            batch=runner.batch,
            runtime=runner.runtime,
        )
        for i, runner in enumerate(runs)
    ]


def _runner(model: Any, threads: int, xnnpack: bool, generator: np.random.Generator) -> Runner:
    if isinstance(model, LiteModel):
        return _litert_runner(model, threads, xnnpack, generator)
    import tensorflow as tf

    specs = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in model.inputs]
    feed = [
        tf.constant(generator.random(spec.shape), spec.dtype)
        if spec.dtype.is_floating
        else tf.zeros(spec.shape, spec.dtype)
        for spec in specs
    ]
    forward = tf.function(
        lambda *x: model(x[0] if len(x) == 1 else list(x), training=False), input_signature=specs
    ).get_concrete_function()
    pool = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1

    def run() -> None:
        for output in tf.nest.flatten(forward(*feed)):
            output.numpy()

    return Runner(run, pool, 1, "TensorFlow")


def _litert_runner(
    model: LiteModel, threads: int, xnnpack: bool, generator: np.random.Generator
) -> Runner:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet_stderr():  # the first interpreter of a process announces its delegate
        interpreter = Interpreter(
            model_content=model.content, num_threads=threads, experimental_op_resolver_type=kernels
        )
        interpreter.allocate_tensors()
    for detail, port in zip(
        sorted(interpreter.get_input_details(), key=lambda d: d["name"]),
        sorted(model.inputs, key=lambda p: p.key),
        strict=True,
    ):
        shape = tuple(detail["shape"])
        interpreter.set_tensor(detail["index"], port.quantize(generator.random(shape)))
    runtime = "LiteRT XNNPACK" if xnnpack else "LiteRT reference kernels"
    runtime += WITH_AMX if xnnpack and has_amx() else ""
    return Runner(interpreter.invoke, threads, int(model.inputs[0].shape[0]), runtime)
