"""A trial's script for NNI tests: quadratic, or troubled, of x; no TensorFlow but for the seed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.tuning import functions
from tfcompress.tuning.nni.trial import run_nni_trial
from tfcompress.tuning.space import Choice, SearchSpace, Uniform
from tfcompress.tuning.trial import SearchObjective

SPACE = SearchSpace(
    {
        "x": Uniform(0.0, 1.0),
        "kind": Choice(("a", "b")),
        "extra": Uniform(0.0, 1.0, when=("kind", ("b",))),
    }
)
NUMBERS = SearchSpace({"x": Uniform(0.0, 1.0)})
SIGNS = SearchSpace({"weight_#00FF00": Uniform(0.2, 5.0), "net//": Choice(("a#b", "c//d"))})
OBJECTIVE = SearchObjective("val_score", "max", ("val_accuracy",))

if __name__ == "__main__":
    space = {"numbers": NUMBERS, "signs": SIGNS}.get(sys.argv[-1], SPACE)
    run_nni_trial(getattr(functions, sys.argv[1]), space, OBJECTIVE)
