"""make unet-hpo-nni: search the U-Net's training (or pruning) with an NNI experiment.

TRIALS trials, CONCURRENCY at a time, proposed by TUNER; the web page is on loopback, at PORT.
Trials that fall behind stop early. Then the default parameters and the best ones are trained
and measured on test images that no trial saw. `best_params.json` is for PARAMS of other targets.

Takes about 15 minutes on two CPU cores (12 trials of at most 20 epochs of 4 s on generated tiles,
most of them stopped early, and 40 epochs after them). Prints every trial, then validation and test
mean IoU of both. docs/measurements.md ("Search") has them on micro-CT slices: +0.0120 mean IoU on
the test.
"""

from experiments.common.program import Program
from experiments.search.tasks import UnetSearch
from experiments.search.unet import SEARCH_SMOKE, main_of

PROGRAM = Program("unet-hpo-nni", UnetSearch, main_of("nni"), SEARCH_SMOKE, doc=__doc__)

if __name__ == "__main__":
    PROGRAM.start()
