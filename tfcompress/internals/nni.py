"""Private names of NNI: its experiments, its tuners, and its one-shot strategies."""

from __future__ import annotations

from tfcompress.internals.names import InnerName, PrivateAttribute

_PACKAGE, _V = "nni", "3.0"

PROCESS = PrivateAttribute(
    (_PACKAGE,), "Experiment", "_proc", "watch NNI's manager, and end it with the search", _V
)
REST = InnerName(_PACKAGE, "nni.experiment.rest", "", "ask NNI's manager for its errors", _V)
CHECK_SERVER = InnerName(
    _PACKAGE,
    "nni.experiment.launcher",
    "_check_rest_server",
    "wait longer than four seconds for NNI's manager",
    _V,
)

_TUNER = "start a tuner anew after a resume"
HYPERBAND = InnerName(_PACKAGE, "nni.algorithms.hpo.hyperband_advisor", "Hyperband", _TUNER, _V)
RANDOM_TUNER = InnerName(_PACKAGE, "nni.algorithms.hpo.random_tuner", "RandomTuner", _TUNER, _V)
TPE_TUNER = InnerName(_PACKAGE, "nni.algorithms.hpo.tpe_tuner", "TpeTuner", _TUNER, _V)

_ONE_SHOT = "correct NNI's one-shot architecture search"
ONE_SHOT_MODULE = InnerName(
    _PACKAGE,
    "nni.nas.oneshot.pytorch.base_lightning",
    "BaseOneShotLightningModule",
    _ONE_SHOT,
    _V,
)
_DIFFERENTIABLE = "nni.nas.oneshot.pytorch.differentiable"
DARTS_MODULE = InnerName(_PACKAGE, _DIFFERENTIABLE, "DartsLightningModule", _ONE_SHOT, _V)
GUMBEL_MODULE = InnerName(_PACKAGE, _DIFFERENTIABLE, "GumbelDartsLightningModule", _ONE_SHOT, _V)
TEMPERATURE = InnerName(_PACKAGE, _DIFFERENTIABLE, "LinearTemperatureScheduler", _ONE_SHOT, _V)
ALPHA = PrivateAttribute(
    (_PACKAGE,), "differentiable choice", "_arch_alpha", "read the probabilities of options", _V
)
SAMPLED = PrivateAttribute(
    (_PACKAGE,), "sampled choice", "_sampled", "make a supernet run given choices", _V
)

_EVOLUTION = "start an evolution from a given architecture"
INDIVIDUAL = InnerName(_PACKAGE, "nni.nas.strategy.evolution", "Individual", _EVOLUTION, _V)
COUNTER = PrivateAttribute(
    (_PACKAGE,), "RegularizedEvolution", "_individual_counter", _EVOLUTION, _V
)
SEEN = PrivateAttribute((_PACKAGE,), "RegularizedEvolution", "_dedup_helper", _EVOLUTION, _V)
POPULATION = PrivateAttribute((_PACKAGE,), "RegularizedEvolution", "_population", _EVOLUTION, _V)
