"""Model compression for Keras: the public names, loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AttentionTransfer": "tfcompress.distillation.objectives",
    "CategoricalFocalLoss": "tfcompress.losses",
    "ChannelConfig": "tfcompress.pruning.channel_config",
    "ChannelPlan": "tfcompress.pruning.channel_plan",
    "ChannelWise": "tfcompress.distillation.objectives",
    "Comparison": "tfcompress.compare",
    "CompressionError": "tfcompress.errors",
    "Constant": "tfcompress.pruning.schedules",
    "Contrastive": "tfcompress.distillation.objectives",
    "Decoupled": "tfcompress.distillation.objectives",
    "DiceFocalLoss": "tfcompress.losses",
    "DiceLoss": "tfcompress.losses",
    "Distiller": "tfcompress.distillation.distiller",
    "F1CrossEntropyLoss": "tfcompress.losses",
    "Hint": "tfcompress.distillation.objectives",
    "KLDistillation": "tfcompress.distillation.criterion",
    "LevelPruner": "tfcompress.pruning.level",
    "LiteModel": "tfcompress.quantization.litert",
    "MacroF1": "tfcompress.evaluation.classification",
    "MacroF1Loss": "tfcompress.losses",
    "PixelWise": "tfcompress.distillation.objectives",
    "Polynomial": "tfcompress.pruning.schedules",
    "Relational": "tfcompress.distillation.objectives",
    "SoftTargets": "tfcompress.distillation.objectives",
    "agp": "tfcompress.pruning.schedules",
    "compare": "tfcompress.compare",
    "compare_outputs": "tfcompress.evaluation.parity",
    "count_cost": "tfcompress.evaluation.cost",
    "count_zeros": "tfcompress.evaluation.sparsity",
    "debug_quantization": "tfcompress.quantization.debug",
    "factorize": "tfcompress.factorization.factorize",
    "find_groups": "tfcompress.pruning.channel_groups",
    "jacard_coef": "tfcompress.evaluation.segmentation",
    "keep_faster": "tfcompress.factorization.factorize",
    "load_image_folder": "tfcompress.data.image_folder",
    "load_segmentation": "tfcompress.data.folder",
    "measure_latency": "tfcompress.evaluation.latency",
    "plan_channels": "tfcompress.pruning.channels",
    "plan_factorization": "tfcompress.factorization.factorize",
    "prune_in_rounds": "tfcompress.pruning.channel_rounds",
    "quantize_aware": "tfcompress.quantization.qat",
    "rebuild": "tfcompress.graph.rebuild",
    "segmentation_metrics": "tfcompress.evaluation.segmentation",
    "sensitivity": "tfcompress.pruning.sensitivity",
    "shrink": "tfcompress.pruning.channels",
    "slim": "tfcompress.pruning.slim",
    "store_teacher": "tfcompress.distillation.store",
    "tfmot_cluster": "tfcompress.pruning.tfmot_cluster",
    "tfmot_prune": "tfcompress.pruning.tfmot",
    "to_keras3": "tfcompress.graph.twin",
    "to_litert": "tfcompress.quantization.litert",
    "to_tf_keras": "tfcompress.graph.twin",
    "transfer_weights": "tfcompress.graph.transfer",
    "trash_score": "tfcompress.evaluation.classification",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tfcompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
