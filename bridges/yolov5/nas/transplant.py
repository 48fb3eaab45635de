"""Another backbone in a detector: neck and head keep their weights wherever shapes allow.

A found or pruned backbone may have other widths. Layers of the neck that read it are narrowed or
widened at their input, channel by channel through every concatenation; what was copied, resized or
newly initialised is reported. Nothing else changes: an unchanged backbone gives exactly the
original's outputs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import nn

from models.yolov5.build import Backbone, Detector, resolve
from models.yolov5.modules import Concat
from tfcompress.errors import LayerError
from tfcompress.reporting.tables import Table

Segments = tuple[tuple[int, int], ...]
"""Channels of a map in order: (width before, width now) of each part that was concatenated."""


@dataclass(frozen=True)
class Resized:
    """A layer of the neck whose input was narrowed or widened.

    Attributes:
        name: Its path in the detector.
        before: Channels in, before.
        after: Channels in, now.
        kept: Channels whose weights were copied.
    """

    name: str
    before: int
    after: int
    kept: int


@dataclass(frozen=True)
class Transplant:
    """A detector with another backbone.

    Attributes:
        detector: The new detector; the given one and the backbone are left as they are.
        copied: Paths of the tensors of neck and head that are as they were.
        resized: Layers whose input changed.
        backbone: Paths of the tensors that came from the backbone.
    """

    detector: Detector
    copied: tuple[str, ...]
    resized: tuple[Resized, ...]
    backbone: tuple[str, ...]

    def table(self) -> Table:
        """What became of each part."""
        table = Table(("part", "tensors", "what"), title="Transplant")
        table.add("backbone", str(len(self.backbone)), "taken from the new backbone")
        table.add("neck and head", str(len(self.copied)), "kept")
        for layer in self.resized:
            new = layer.after - layer.kept
            what = f"channels in: {layer.before} before, {layer.after} now, {layer.kept} kept"
            table.add(layer.name, "1", what + (f", {new} new" if new else ""))
        return table

    def __str__(self) -> str:
        return str(self.table())


def transplant(detector: Detector, backbone: Backbone, side: int = 256) -> Transplant:
    """Put a backbone into a detector, row by row.

    Args:
        detector: Detector whose first rows are replaced.
        backbone: Backbone with as many rows; each map must have the size of the one it replaces.
        side: Side of the image used to check the shapes.

    Raises:
        LayerError: A row's map has another size, or a layer of the neck cannot be resized.
    """
    new = copy.deepcopy(detector)
    count = len(backbone.model)
    if count >= len(new.model) or backbone.sources != new.sources[:count]:
        raise LayerError(
            "the backbone",
            f"its {count} rows are not wired as the first rows of {detector.architecture.name}",
            "build both from the same architecture",
        )
    before, after = _map_sizes(detector, side), _map_sizes(backbone, side)
    for row in range(count):
        if row in after and row in before and before[row] != after[row]:
            raise LayerError(
                f"model.{row}",
                f"its map is {_size(after[row])} for {side} pixels, and was {_size(before[row])}",
                "keep the strides of the backbone",
            )
    for row in range(count):
        new.model[row] = copy.deepcopy(backbone.model[row])
    segments: dict[int, Segments] = {
        row: ((detector.channels[row], backbone.channels[row]),) for row in range(count)
    }
    resized: list[Resized] = []
    for row in range(count, len(new.model)):
        module, source = new.model[row], new.sources[row]
        read = source if isinstance(source, tuple) else (source,)
        given = [segments[index] for index in read]
        if isinstance(module, Concat):
            segments[row] = tuple(part for parts in given for part in parts)
        elif isinstance(module, nn.Upsample):
            segments[row] = given[0]
        else:
            resized += _resize_readers(module, f"model.{row}", given, module is new.head)
            segments[row] = ((detector.channels[row], detector.channels[row]),)
    new.architecture = replace(
        resolve(new.architecture), backbone=resolve(backbone.architecture).backbone
    )
    new.choices = dict(backbone.choices)
    new.channels = [sum(now for _, now in segments[row]) for row in range(len(new.model))]
    _check_runs(new, side)
    changed = {f"{layer.name}.weight" for layer in resized}
    names = list(new.state_dict())
    own = tuple(name for name in names if int(name.split(".")[1]) < count)
    return Transplant(
        detector=new,
        copied=tuple(name for name in names if name not in own and name not in changed),
        resized=tuple(resized),
        backbone=own,
    )


def _resize_readers(
    module: nn.Module, path: str, given: list[Segments], is_head: bool
) -> list[Resized]:
    """Resize the convolutions of a module that read its input."""
    if all(old == now for parts in given for old, now in parts):
        return []
    done = []
    if is_head:
        for level, parts in enumerate(given):
            done += _replace(module.m, str(level), f"{path}.m.{level}", parts)
        return done
    if len(given) != 1:
        raise LayerError(path, f"it reads {len(given)} maps", "only Concat and Detect may do that")
    for parent, name, where in _direct_readers(module, path, sum(old for old, _ in given[0])):
        done += _replace(parent, name, where, given[0])
    return done


def _direct_readers(module: nn.Module, path: str, width: int) -> list[tuple[nn.Module, str, str]]:
    """Convolutions that read the very input of a module: (parent, attribute, path).

    Raises:
        LayerError: Something else with weights reads it, or the sum of it and another map is taken.
    """
    x = torch.zeros(1, width, 8, 8)
    seen: list[nn.Module] = []
    hooks = [
        part.register_forward_pre_hook(
            lambda part, inputs: seen.append(part) if inputs[0] is x else None
        )
        for part in module.modules()
        if not list(part.children())
    ]
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(x)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    names = {id(part): name for name, part in module.named_modules()}
    readers = []
    for part in seen:
        where = f"{path}.{names[id(part)]}"
        if not isinstance(part, nn.Conv2d) or part.groups != 1:
            raise LayerError(
                where,
                f"a {type(part).__name__} reads the backbone directly and cannot be resized",
                "put a convolution of one group between them",
            )
        parent, _, name = names[id(part)].rpartition(".")
        readers.append((module.get_submodule(parent), name, where))
    if not readers:
        raise LayerError(path, "nothing in it reads its input", "use another module there")
    return readers


def _replace(parent: nn.Module, name: str, where: str, parts: Segments) -> list[Resized]:
    """A convolution with another number of channels in, weights copied part by part."""
    old = getattr(parent, name) if not name.isdigit() else parent[int(name)]
    after = sum(now for _, now in parts)
    new = nn.Conv2d(
        after,
        old.out_channels,
        old.kernel_size,
        old.stride,
        old.padding,
        old.dilation,
        bias=old.bias is not None,
    ).to(old.weight)
    kept = from_old = from_new = 0
    with torch.no_grad():
        for before, now in parts:
            same = min(before, now)
            new.weight[:, from_new : from_new + same] = old.weight[:, from_old : from_old + same]
            kept, from_old, from_new = kept + same, from_old + before, from_new + now
        if old.bias is not None:
            new.bias.copy_(old.bias)
    setattr(parent, name, new)
    return [Resized(where, old.in_channels, after, kept)]


def _map_sizes(graph: Detector | Backbone, side: int) -> dict[int, tuple[int, int]]:
    """(height, width) of every row's map that is kept, without touching the modules' state."""
    training = graph.training
    graph.eval()
    try:
        with torch.no_grad():
            kept = graph.outputs(torch.zeros(1, 3, side, side))
    finally:
        graph.train(training)
    return {
        row: tuple(output.shape[2:])
        for row, output in kept.items()
        if isinstance(output, torch.Tensor)
    }


def _check_runs(detector: Detector, side: int) -> None:
    training = detector.training
    try:
        with torch.no_grad():
            detector.eval()(torch.zeros(1, 3, side, side))
    except RuntimeError as error:
        raise LayerError(
            "the new detector", str(error).splitlines()[0], "report it: resizing missed a layer"
        ) from None
    finally:
        detector.train(training)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
