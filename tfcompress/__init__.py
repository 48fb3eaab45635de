"""Model compression for Keras: the public names, loaded when they are first used."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AttentionTransfer": "tfcompress.distillation.objectives",
    "CategoricalFocalLoss": "tfcompress.losses",
    "Budget": "tfcompress.pipeline.recipe",
    "Builder": "tfcompress.pipeline.step",
    "ChannelConfig": "tfcompress.pruning.channels.config",
    "ChannelPlan": "tfcompress.pruning.channels.core.plan",
    "ChannelWise": "tfcompress.distillation.objectives",
    "Choice": "tfcompress.tuning.space",
    "Comparison": "tfcompress.comparison",
    "CompressResult": "tfcompress.pipeline.outcome",
    "CompressionData": "tfcompress.pipeline.data",
    "CompressionError": "tfcompress.errors",
    "Constant": "tfcompress.pruning.schedules",
    "Contrastive": "tfcompress.distillation.objectives",
    "Decoupled": "tfcompress.distillation.objectives",
    "DiceFocalLoss": "tfcompress.losses",
    "DiceLoss": "tfcompress.losses",
    "Distiller": "tfcompress.distillation.distiller",
    "F1CrossEntropyLoss": "tfcompress.losses",
    "HalvingStop": "tfcompress.tuning.stopping",
    "Hint": "tfcompress.distillation.objectives",
    "Integer": "tfcompress.tuning.space",
    "KLDistillation": "tfcompress.distillation.criterion",
    "KerasTunerSearch": "tfcompress.tuning.keras_tuner.settings",
    "LevelPruner": "tfcompress.pruning.level.pruner",
    "LiteModel": "tfcompress.litert.model",
    "LogUniform": "tfcompress.tuning.space",
    "MacroF1": "tfcompress.evaluation.classification",
    "MacroF1Loss": "tfcompress.losses",
    "MedianStop": "tfcompress.tuning.stopping",
    "NNISearch": "tfcompress.tuning.nni.experiment",
    "PixelWise": "tfcompress.distillation.objectives",
    "Polynomial": "tfcompress.pruning.schedules",
    "Relational": "tfcompress.distillation.objectives",
    "RemoteMachine": "tfcompress.tuning.nni.experiment",
    "SearchObjective": "tfcompress.tuning.trial",
    "SearchResult": "tfcompress.tuning.results",
    "STEPS": "tfcompress.pipeline.steps",
    "SearchSpace": "tfcompress.tuning.space",
    "SoftTargets": "tfcompress.distillation.objectives",
    "StepKind": "tfcompress.pipeline.step",
    "StepResult": "tfcompress.pipeline.step",
    "Trial": "tfcompress.tuning.trial",
    "Uniform": "tfcompress.tuning.space",
    "agp": "tfcompress.pruning.schedules",
    "compare": "tfcompress.comparison",
    "compare_outputs": "tfcompress.evaluation.parity",
    "compress": "tfcompress.pipeline.compress",
    "count_cost": "tfcompress.evaluation.cost",
    "count_zeros": "tfcompress.evaluation.sparsity",
    "debug_quantization": "tfcompress.quantization.report",
    "factorize": "tfcompress.factorization.factorize",
    "find_groups": "tfcompress.pruning.channels.trace.groups",
    "jaccard": "tfcompress.evaluation.segmentation",
    "keep_faster": "tfcompress.factorization.factorize",
    "load_image_folder": "tfcompress.data.image_folder",
    "load_segmentation": "tfcompress.data.folder",
    "measure_latency": "tfcompress.evaluation.latency",
    "nni_callback": "tfcompress.tuning.nni.trial",
    "nni_parameters": "tfcompress.tuning.nni.trial",
    "plan_channels": "tfcompress.pruning.channels.planner",
    "plan_factorization": "tfcompress.factorization.factorize",
    "prune_in_rounds": "tfcompress.pruning.channels.rounds",
    "quantize_aware": "tfcompress.quantization.training.tfmot",
    "rebuild": "tfcompress.graph.rebuild",
    "refuse_amx": "tfcompress.litert.amx",
    "run_nni_experiment": "tfcompress.tuning.nni.experiment",
    "run_nni_trial": "tfcompress.tuning.nni.trial",
    "search_with_keras_tuner": "tfcompress.tuning.keras_tuner.search",
    "segmentation_metrics": "tfcompress.evaluation.segmentation",
    "sensitivity": "tfcompress.pruning.channels.sensitivity",
    "shrink": "tfcompress.pruning.channels.planner",
    "slim": "tfcompress.pruning.channels.slim",
    "store_teacher": "tfcompress.distillation.store",
    "tfmot_cluster": "tfcompress.pruning.tfmot.cluster",
    "tfmot_prune": "tfcompress.pruning.tfmot.prune",
    "to_keras3": "tfcompress.twin.twin",
    "to_litert": "tfcompress.litert.model",
    "to_tf_keras": "tfcompress.twin.twin",
    "transfer_weights": "tfcompress.graph.transfer",
    "trash_score": "tfcompress.evaluation.classification",
}

# Old public names, which still work, with a warning, in this release.
_RENAMED = {
    "Machine": "RemoteMachine",
    "Objective": "SearchObjective",
    "Search": "KerasTunerSearch",
    "jacard_coef": "jaccard",
    "run_experiment": "run_nni_experiment",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(
            f"tfcompress.{name} is now called tfcompress.{new}; "
            f"the old name will be removed in the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        name = new
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tfcompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
