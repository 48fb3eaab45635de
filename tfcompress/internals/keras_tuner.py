"""Private names of keras-tuner."""

from __future__ import annotations

from tfcompress.internals.names import InnerName, PrivateAttribute

_PACKAGE, _V = "keras-tuner", "1.4.8"

_LOCK = "lock an oracle so that an error gives the lock back"
LOCKS = InnerName(_PACKAGE, "keras_tuner.src.engine.oracle", "LOCKS", _LOCK, _V)
THREADS = InnerName(_PACKAGE, "keras_tuner.src.engine.oracle", "THREADS", _LOCK, _V)

_CHIEF = "serve an oracle to other processes"
PROTOS = InnerName(_PACKAGE, "keras_tuner.src.protos", "", _CHIEF, _V)
SERVICER = InnerName(
    _PACKAGE, "keras_tuner.src.distribute.oracle_chief", "OracleServicer", _CHIEF, _V
)
TIMEOUT = InnerName(
    _PACKAGE,
    "keras_tuner.src.distribute.oracle_client",
    "TIMEOUT",
    "give up on a chief that does not answer (keras-tuner waits an hour)",
    _V,
)

ORACLE_FILE = PrivateAttribute(
    (_PACKAGE,), "placed oracle", "_get_oracle_fname", "write a search's state whole", _V
)
TRIAL_FOLDER = PrivateAttribute(
    (_PACKAGE,), "placed oracle", "_get_trial_dir", "write a trial's state whole", _V
)
SAVE_TRIAL = PrivateAttribute(
    (_PACKAGE,), "oracle", "_save_trial", "write a trial's state whole (it is overridden)", _V
)
RETRY_QUEUE = PrivateAttribute(
    (_PACKAGE,), "oracle", "_retry_queue", "start again the trials that were cut off", _V
)
COMPARE = PrivateAttribute(
    (_PACKAGE,), "grid oracle", "_compare", "put the combinations of a resumed grid in order", _V
)
ORDERED_IDS = PrivateAttribute(
    (_PACKAGE,),
    "grid oracle",
    "_ordered_ids",
    "put the combinations of a resumed grid in order",
    _V,
)
WITHOUT_SUCCESSOR = PrivateAttribute(
    (_PACKAGE,), "grid oracle", "_populate_next", "go on with a resumed grid", _V
)
BRACKET = PrivateAttribute(
    (_PACKAGE,), "Hyperband oracle", "_current_bracket", "count the trials of the first round", _V
)
BRACKET_SIZE = PrivateAttribute(
    (_PACKAGE,), "Hyperband oracle", "_get_size", "count the trials of the first round", _V
)
