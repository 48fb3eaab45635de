"""make unet-hpo-nni: search how the U-Net is best trained (or pruned), by an NNI experiment.

TRIALS trials, CONCURRENCY at a time, by TUNER; the web page is on loopback, at PORT. Trials that
fall behind stop early. Then the default parameters and the best are trained anew and
measured on test images that no trial saw. `best_params.json` is for PARAMS of other targets.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from experiments.common.program import run_experiment
from experiments.search.tasks import UnetSearch
from experiments.search.unet import SEARCH_SMOKE, main

if __name__ == "__main__":
    run_experiment(UnetSearch, lambda config: main(config, "nni"), SEARCH_SMOKE)
