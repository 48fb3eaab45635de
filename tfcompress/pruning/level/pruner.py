"""LevelPruner: the smallest weights become zero and stay zero, whatever trains the model.

```python
pruner = LevelPruner(model, [{"sparsity": 0.8, "op_types": ["default"]}])
model, masks = pruner.compress()        # in place; the masks hold from here on
model.compile(...); model.fit(...)      # unchanged
print(pruner.report())
pruner.save("pruned.keras")             # a plain Keras file
```

What masks cannot hold against is shown by `report()` and mended by `LevelPruner.hold(model)`: a
loop that assigns variables itself, a train step traced before `compress()` by somebody else's
`tf.function`, and a copy (a clone, a deep copy, a reloaded file), which starts without masks.
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

Scope = Literal["layer", "global"]


class LevelPruner:
    """Prune the weights with the lowest scores, in place.

    Args:
        model: A built Keras 3 or tf_keras model: functional, Sequential, nested or subclassed.
        config_list: Which layers, and how sparse; NNI's vocabulary, see `selection.py`.
        granularity: `"unstructured"`, a block such as `"1x4"` (inputs x outputs) or a pattern such
            as `"2:4"`, whose sparsity is given by the pattern.
        scope: `"layer"` gives every weight its own target; `"global"` lets the weights chosen by
            one `config_list` entry share it.
        schedule: How sparsity grows while training; None masks everything in `compress()`. With a
            schedule, give `callback()` to `fit`, or call `advance()` after each step of a loop.
        score: Name of the importance in `SCORES`: `"magnitude"` or the control `"random"`.
        seed: For the random score.

    Raises:
        ConfigError: A bad `config_list` entry or argument, named with its fix.
        LayerError: The model is unbuilt, or has nothing that could be pruned.
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
        """Keep the zeros that a model has: put masks on again after a reload, a clone or a leak.

        A weight that carries a mask gets it applied anew. Any other gets a mask of its present
        zeros if it has some (a weight that is all zero, such as a fresh PReLU, is left free). The
        next `fit` of this model is traced anew, so calling it on an outer model mends a train step
        that was traced before an inner model was pruned.

        Args:
            model: A built model.
            config_list: Limits which layers are looked at; sparsities in it are ignored. Default:
                every prunable layer.

        Raises:
            LayerError: No prunable weight has a zero.
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
                reason = "has no zero" if value.all() else "is all zero"
                skipped.append((target.key[0], f"{target.key[1]} {reason}"))
                continue
            keep[target.key] = value
            share = 1 - np.count_nonzero(value) / value.size
            targets.append(Target(target.key, target.variable, share, target.entry, target.axes))
        if not targets:
            raise LayerError(
                f"model {model.name!r}",
                "no prunable weight holds a zero, so there is nothing to hold",
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
        """Compute masks from the present weights and put them on the model, in place.

        With a schedule, the masks are those of step 0 and grow from there. Called again, masks are
        computed anew. A model that was trained before is traced anew by its next `fit`.

        Returns:
            The model itself, and the keep-masks by (layer path, role).

        Raises:
            ConfigError: Weights hold NaN.
            LayerError: The masks would drop nothing (every target rounds down to no weight), or
                the model is a Keras 3 one under a strategy of several workers.
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
        """The present keep-masks by (layer path, role)."""
        return self._required_state().masks()

    @property
    def step(self) -> int:
        """Optimizer steps that the schedule has seen."""
        return int(self._required_state().step.numpy())

    @property
    def sparsity(self) -> float:
        """Share of the selected weights that are zero now."""
        values = [constraint.read(target.variable) for target in self._targets]
        sizes = sum(value.size for value in values)
        return 1 - sum(int(np.count_nonzero(value)) for value in values) / sizes

    def advance(self, steps: int = 1) -> bool:
        """Tell a step schedule that the optimizer has done `steps` more; True if masks changed."""
        present = self._required_state()
        before = int(present.step.numpy())
        present.step.assign(before + steps)
        if self.schedule is None or self.schedule.unit != "step" or self._frozen:
            return False
        return self._follow(before, before + steps)

    def start_epoch(self, epoch: int) -> bool:
        """Tell an epoch schedule that epoch `epoch` (from 0) begins; True if masks changed."""
        if self.schedule is None or self.schedule.unit != "epoch" or self._frozen:
            return False
        return self._follow(epoch - 1, epoch)

    def callback(self) -> Any:
        """A callback for `fit` (of the model's flavor) that moves the masks along the schedule."""
        from tfcompress.pruning.level.callback import make_callback

        return make_callback(self)

    def recompute(self) -> None:
        """New masks from the present weights, at the sparsity of the present step.

        Weights that are masked are zero and so the first to go again; `release()` first and train
        for a while to let others take their place.
        """
        at_step = None if self.schedule is None else self.step
        self._install(self._compute(step=at_step))

    def freeze(self) -> None:
        """Keep the present masks from now on, whatever the schedule says."""
        self._frozen = True

    def release(self) -> None:
        """Let every weight go free: masks of ones. Nothing is traced anew; weights stay as is."""
        self._frozen = True
        for target in self._targets:
            self._required_state().constraints[target.key].mask.assign(
                np.ones(tuple(target.variable.shape), bool)
            )

    def report(self) -> PruneReport:
        """What is pruned, counted in the model as it is now."""
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
            path: Ends in ".keras".
            training_state: Keep the compile configuration and the optimizer's variables.

        Raises:
            ConfigError: The name does not end in ".keras".
            LayerError: Zeros have leaked, so that the file would not be as sparse as promised.
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
        """Masks from the present weights; `step` None means the final sparsity."""
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
            self.model.train_function = None  # a trace from before has no masks in it
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
    """Every parameter of the model, whether it can be pruned or not."""
    sizes = {
        id(variable): int(np.prod(variable.shape))
        for placed in walk_layers(model)
        for _, variable in own_weights(placed.layer)
    }
    return sum(sizes.values())
