"""make unet-hpo: search how the U-Net is best trained (or pruned), by keras-tuner.

TRIALS trials, CONCURRENCY at a time, by TUNER. Each is a process with a deadline; those that fall
behind stop early. Then the default parameters and the best are trained anew and
measured on test images that no trial saw. `best_params.json` is for PARAMS of other targets.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from experiments.common.program import run_experiment
from experiments.search.tasks import UnetSearch
from experiments.search.unet import SEARCH_SMOKE, main

if __name__ == "__main__":
    run_experiment(UnetSearch, lambda config: main(config, "keras-tuner"), SEARCH_SMOKE)
