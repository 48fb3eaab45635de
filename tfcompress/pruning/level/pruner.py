"""LevelPruner: the smallest weights become zero and stay zero in any training loop.

```python
pruner = LevelPruner(model, [{"sparsity": 0.8, "op_types": ["default"]}])
model, masks = pruner.compress()        # in place; the masks hold from here on
model.fit(images, labels)               # unchanged
print(pruner.report())
pruner.save("pruned.keras")             # a plain Keras file
```

In three cases zeros are lost: if a loop assigns variables itself, if a `tf.function` outside Keras
traced the train step before `compress()`, and in a copy (clone, deep copy, reloaded file), which
has no masks. `report()` shows such leaks, and `LevelPruner.hold(model)` repairs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph import constraint
from tfcompress.graph.layers import Key, flavor_of, own_weights, walk_layers
from tfcompress.graph.saving import save_plain
from tfcompress.graph.strategy import check_strategy
from tfcompress.pruning import selection
from tfcompress.pruning.level import masks, state
from tfcompress.pruning.level.layout import arrange, check_pattern, drop_unfit
from tfcompress.pruning.level.report import PruneReport, WeightRow
from tfcompress.pruning.level.scores import SCORES
from tfcompress.pruning.schedules import Schedule
from tfcompress.pruning.selection import Target
from tfcompress.short_repr import one_line

Scope = Literal["layer", "global"]


class LevelPruner:
    """Prune the weights with the lowest scores, in place.

    Args:
        model: Built Keras 3 or tf_keras model: functional, Sequential, nested or subclassed.
        config_list: Layers to prune and their sparsities, in NNI's vocabulary; see `selection.py`.
        granularity: Granularity of the masks: "unstructured", a block such as "1x4" (inputs x
            outputs), or a pattern such as "2:4", which determines the sparsity.
        scope: Scope of a sparsity: "layer" applies it to each weight by itself, "global" to all
            weights that one `config_list` entry selects, with one threshold.
        schedule: Growth of the sparsity during training. None prunes fully in `compress()`. With a
            schedule, pass `callback()` to `fit`, or call `advance()` after each step of a loop.
        score: Name of the importance score in `SCORES`: "magnitude", or "random" as a control.
        seed: Seed of the random score.

    Raises:
        ConfigError: A `config_list` entry or an argument is invalid.
        LayerError: The model is unbuilt, or nothing would be pruned.
    """

    def __init__(
        self,
        model: Any,
        config_list: Sequence[Mapping[str, Any]],
        *,
        granularity: str | masks.Granularity = "unstructured",
        scope: Scope = "layer",
        schedule: Schedule | None = None,
        score: str = "magnitude",
        seed: int = 0,
    ) -> None:
        self.model = model
        self.flavor = flavor_of(model)
        self.granularity = masks.parse_granularity(granularity)
        self.scope = scope
        self.schedule = schedule
        self.score = score
        self.seed = seed
        entries = selection.parse_config_list(config_list)
        if scope not in ("layer", "global"):
            raise ConfigError("scope", f"{scope!r} is unknown", "use 'layer' or 'global'")
        if score not in SCORES:
            raise ConfigError("score", f"{score!r} is unknown", f"use one of {', '.join(SCORES)}")
        check_pattern(self.granularity, scope, schedule, entries)
        chosen = selection.select(model, entries)
        self._targets, self._skipped = drop_unfit(chosen, self.granularity)
        if not self._targets or all(target.sparsity == 0 for target in self._targets):
            raise LayerError(
                f"model {model.name!r}",
                "nothing would be pruned: "
                + "; ".join(f"{path}: {reason}" for path, reason in self._skipped[:5]),
                "select layers with kernels, for instance {'sparsity': 0.8, "
                "'op_types': ['default']}, with a sparsity above 0",
            )
        self._state: state.PruningState | None = None
        self._frozen = False

    @classmethod
    def hold(
        cls, model: Any, config_list: Sequence[Mapping[str, Any]] | None = None
    ) -> LevelPruner:
        """Keep the zeros of a model: install masks after a reload, a clone or a leak.

        A mask that is installed already is applied again. A weight without a mask gets one of its
        current zeros, if it has any; a weight that is all zero, such as a new PReLU, stays free.
        The next `fit` of the model is retraced. If an inner model was pruned after the train step
        of an outer model was traced, calling `hold` on the outer model repairs that too.

        Args:
            model: Built model of either flavor.
            config_list: Layers to look at; the sparsities in it are ignored. Every prunable layer
                by default.

        Returns:
            A pruner whose masks do not change.

        Raises:
            ConfigError: A `config_list` entry is invalid.
            LayerError: No prunable weight contains a zero.
        """
        entries = selection.parse_config_list(config_list or [{"sparsity": 0.5}])
        chosen = selection.select(model, entries)
        keep: dict[Key, np.ndarray] = {}
        targets: list[Target] = []
        skipped = list(chosen.skipped)
        for target in chosen.targets:
            present = constraint.mask_of_variable(target.variable)
            value = np.asarray(target.variable) != 0 if present is None else present.keep
            if value.all() or not value.any():
                reason = "has no zeros" if value.all() else "is all zeros"
                skipped.append((target.key[0], f"{target.key[1]} {reason}"))
                continue
            keep[target.key] = value
            share = 1 - np.count_nonzero(value) / value.size
            targets.append(Target(target.key, target.variable, share, target.entry, target.axes))
        if not targets:
            raise LayerError(
                f"model {model.name!r}",
                "no prunable weight contains zeros, so there is nothing to hold",
                "load a pruned model, or prune this one with LevelPruner(...).compress()",
            )
        pruner = cls.__new__(cls)
        pruner.model, pruner.flavor = model, flavor_of(model)
        pruner.granularity, pruner.scope, pruner.schedule = (
            masks.Unstructured(),
            "layer",
            None,
        )
        pruner.score, pruner.seed, pruner._frozen = "magnitude", 0, True
        pruner._targets, pruner._skipped, pruner._state = (
            tuple(targets),
            tuple(skipped),
            None,
        )
        earlier = state.state_of(model)
        pruner._install(keep, step=0 if earlier is None else int(earlier.step.numpy()))
        model.train_function = None
        return pruner

    def compress(self) -> tuple[Any, dict[Key, np.ndarray]]:
        """Compute masks from the current weights and install them on the model, in place.

        With a schedule, the masks are those of step 0, and sparsity grows from there. A second call
        computes new masks. The next `fit` of a model that was trained before is retraced.

        Returns:
            The model itself, and the masks by (layer path, role): boolean arrays of the weights'
            shapes, True where the weight is kept.

        Raises:
            ConfigError: The weights contain NaN.
            LayerError: No weight would be pruned, because every target rounds down to 0, or a
                Keras 3 model is in the scope of a multi-worker strategy.
        """
        check_strategy(self.model)
        keep = self._compute(step=0)
        if self.schedule is None and all(mask.all() for mask in keep.values()):
            raise LayerError(
                f"model {self.model.name!r}",
                "every target rounds down to zero weights, so nothing was pruned",
                "raise the sparsity, or use scope='global'",
            )
        self._frozen = False
        self._install(keep, step=0)
        return self.model, self.masks

    @property
    def masks(self) -> dict[Key, np.ndarray]:
        """The current masks by (layer path, role), True where the weight is kept."""
        return self._required_state().masks()

    @property
    def step(self) -> int:
        """Number of optimizer steps since `compress()`."""
        return int(self._required_state().step.numpy())

    def __repr__(self) -> str:
        facts = {
            "model": self.model.name,
            "weights": len(self._targets),
            "compressed": self._state is not None,
            "granularity": self.granularity,
            "scope": self.scope,
        }
        return one_line("LevelPruner", facts)

    @property
    def sparsity(self) -> float:
        """Share of the selected weights that are currently zero."""
        values = [constraint.read(target.variable) for target in self._targets]
        sizes = sum(value.size for value in values)
        return 1 - sum(int(np.count_nonzero(value)) for value in values) / sizes

    def advance(self, steps: int = 1) -> bool:
        """Advance a step schedule by a number of optimizer steps.

        Returns:
            Whether masks changed.
        """
        present = self._required_state()
        before = int(present.step.numpy())
        present.step.assign(before + steps)
        if self.schedule is None or self.schedule.unit != "step" or self._frozen:
            return False
        return self._follow(before, before + steps)

    def start_epoch(self, epoch: int) -> bool:
        """Advance an epoch schedule to the start of an epoch (from 0).

        Returns:
            Whether masks changed.
        """
        if self.schedule is None or self.schedule.unit != "epoch" or self._frozen:
            return False
        return self._follow(epoch - 1, epoch)

    def callback(self) -> Any:
        """Make a callback for `fit`, of the model's flavor, that follows the schedule."""
        from tfcompress.pruning.level.callback import make_callback

        return make_callback(self)

    def recompute(self) -> None:
        """Compute new masks from the current weights, at the sparsity of the current step.

        Masked weights are zero and will be pruned again. To give them a chance, call `release()`
        and train for a while first.
        """
        at_step = None if self.schedule is None else self.step
        self._install(self._compute(step=at_step))

    def freeze(self) -> None:
        """Keep the current masks from now on, regardless of the schedule."""
        self._frozen = True

    def release(self) -> None:
        """Free all weights by setting the masks to ones. Weights do not change; no retracing."""
        self._frozen = True
        for target in self._targets:
            self._required_state().constraints[target.key].mask.assign(
                np.ones(tuple(target.variable.shape), bool)
            )

    def report(self) -> PruneReport:
        """Report what is pruned, counted in the model as it is now."""
        present = {} if self._state is None else self._state.masks()
        rows = []
        for target in self._targets:
            value = np.asarray(target.variable)
            mask = present.get(target.key)
            rows.append(
                WeightRow(
                    path=target.key[0],
                    role=target.key[1],
                    weights=value.size,
                    target=target.sparsity,
                    masked=0 if mask is None else int(value.size - np.count_nonzero(mask)),
                    zeros=int(value.size - np.count_nonzero(value)),
                    leaked=0 if mask is None else int(np.count_nonzero(value[~mask])),
                )
            )
        return PruneReport(tuple(rows), tuple(self._skipped), _all_weights(self.model))

    def save(self, path: str | os.PathLike[str], training_state: bool = True) -> None:
        """Write a plain Keras file (`.keras`), atomically, without masks and pruner state.

        `LevelPruner.hold(loaded_model)` keeps the zeros through further training.

        Args:
            path: Path of the file; must end in ".keras".
            training_state: Whether to keep the compile configuration and the optimizer's variables.

        Raises:
            ConfigError: The path does not end in ".keras".
            LayerError: Pruned weights are no longer zero, so the file would be less sparse than the
                masks.
        """
        leaked = [row for row in self.report().rows if row.leaked]
        if leaked:
            raise LayerError(
                f"weight {leaked[0].path}/{leaked[0].role}",
                f"{leaked[0].leaked} pruned weights are no longer zero",
                "call LevelPruner.hold(model) before saving, and see why in its documentation",
            )
        save_plain(self.model, path, training_state)

    def _compute(self, step: int | None) -> dict[Key, np.ndarray]:
        """Compute masks from the current weights, at a step or (None) at the final sparsity."""
        keys = [target.key for target in self._targets]
        with ThreadPoolExecutor() as pool:  # NumPy works outside the interpreter lock
            scores = list(pool.map(self._score, range(len(keys))))
            if self.scope == "layer":
                sparsities = [self._sparsity(target, step) for target in self._targets]
                return dict(
                    zip(keys, pool.map(self._mask, self._targets, scores, sparsities), strict=True)
                )
        keep: dict[Key, np.ndarray] = {}
        for entry in sorted({target.entry for target in self._targets}):
            chosen = [i for i, target in enumerate(self._targets) if target.entry == entry]
            sparsity = self._sparsity(self._targets[chosen[0]], step)
            pooled = masks.masks_of_pool([scores[i] for i in chosen], sparsity)
            keep.update(zip((keys[i] for i in chosen), pooled, strict=True))
        return keep

    def _score(self, index: int) -> np.ndarray:
        generator = np.random.default_rng([self.seed, index])
        return SCORES[self.score](constraint.read(self._targets[index].variable), generator)

    def _mask(self, target: Target, score: np.ndarray, sparsity: float) -> np.ndarray:
        arranged = arrange(score, target, self.granularity)
        return arrange(
            masks.mask_of(arranged, sparsity, self.granularity), target, self.granularity
        )

    def _sparsity(self, target: Target, step: int | None) -> float:
        if self.schedule is None or step is None:
            return target.sparsity
        return self.schedule.at(step, target.sparsity)

    def _follow(self, before: int, after: int) -> bool:
        if self.schedule is None or not self.schedule.due(before, after):
            return False
        keep, present = self._compute(step=after), self._required_state().constraints
        changed = {key for key in keep if not np.array_equal(keep[key], present[key].keep)}
        for target in self._targets:
            if target.key in changed:
                constraint.install(target.variable, keep[target.key])
        return bool(changed)

    def _install(self, keep: Mapping[Key, np.ndarray], step: int | None = None) -> None:
        constraints, any_new = {}, False
        for target in self._targets:
            constraints[target.key], new = constraint.install(target.variable, keep[target.key])
            any_new |= new
        if any_new:
            self.model.train_function = None  # an earlier trace does not contain the masks
        if self._state is None or self._state.constraints != constraints:
            self._state = state.PruningState(constraints, self._remask)
            state.attach(self.model, self.flavor, self._state)
        if step is not None:
            self._state.step.assign(step)

    def _remask(self) -> None:
        for target in self._targets:
            present = self._required_state().constraints[target.key]
            target.variable.assign(present.apply(target.variable))

    def _required_state(self) -> state.PruningState:
        if self._state is None:
            raise LayerError(
                f"model {self.model.name!r}",
                "it has no masks yet",
                "call compress() first",
            )
        return self._state


def _all_weights(model: Any) -> int:
    """Number of parameters of the model, prunable or not."""
    sizes = {
        id(variable): int(np.prod(variable.shape))
        for placed in walk_layers(model)
        for _, variable in own_weights(placed.layer)
    }
    return sum(sizes.values())
