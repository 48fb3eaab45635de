# Targets are documented by the comment behind "##"; `make help` prints them.
# Variables of the experiments: DATA EPOCHS RUN CONFIG ARGS, and SMOKE=1, RESUME=1.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
PIP_ARGS ?=
VENV := .venv
STAMP := $(VENV)/.installed
RUN_PYTHON := $(VENV)/bin/python

DATA ?=
EPOCHS ?=
RUN ?=
CONFIG ?=
MODEL ?=
IMAGES ?=
TARGET_MACS ?=
SCORE ?=
ROUNDS ?=
FROM_RUN ?=
TEACHER ?=
TRIALS ?=
CONCURRENCY ?=
TUNER ?=
PORT ?=
PARAMS ?=
RECIPE ?=
DEVICE ?=
STRATEGY ?=
WEIGHTS ?=
T_WEIGHTS ?=
SPARSITY ?=
# Old name of SCORE.
METHOD ?=
SMOKE ?=
RESUME ?=
WORKERS ?= 2
ARGS ?=

# Flags that every experiment takes, from the variables that are set.
FLAGS = $(if $(CONFIG),--config "$(CONFIG)") $(if $(PARAMS),--params "$(PARAMS)") \
	$(if $(SMOKE),--smoke) $(if $(DATA),--data "$(DATA)") $(if $(EPOCHS),--epochs $(EPOCHS)) \
	$(if $(RUN),--run "$(RUN)") $(if $(RESUME),--resume)
SEARCH_FLAGS = $(if $(TRIALS),--trials $(TRIALS)) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY)) \
	$(if $(TUNER),--tuner $(TUNER)) $(if $(PORT),--port $(PORT))
YOLO_FLAGS = $(if $(MODEL),--model "$(MODEL)") $(if $(DEVICE),--device $(DEVICE))
# A detector's file that is started from, and one that teaches.
TAUGHT_FLAGS = $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(TEACHER),--teacher "$(TEACHER)")
# How channels are chosen; METHOD= is its old name.
SCORE_FLAG = $(if $(METHOD),$(warning DeprecationWarning: METHOD= is now called SCORE=; the old name \
	will be removed in the next release)--score $(METHOD),$(if $(SCORE),--score $(SCORE)))
NAS_FLAGS = $(if $(STRATEGY),--strategy $(STRATEGY)) $(if $(PORT),--port $(PORT))
RECIPE_FLAGS = $(if $(RECIPE),--recipe "$(RECIPE)") $(if $(MODEL),--model "$(MODEL)")
FILE_FLAGS = $(if $(CONFIG),--config "$(CONFIG)") $(if $(SMOKE),--smoke) \
	$(if $(MODEL),--model "$(MODEL)")

.PHONY: help setup demo test test-slow lint docs bench clean \
	unet-train unet-level-prune unet-channel-prune unet-tfmot-prune unet-qat unet-distill unet-int8 \
	unet-compress unet-predict unet-hpo unet-hpo-nni trash-hpo nni-create trash-train \
	trash-distill trash-tucker trash-score trash-compress yolo-train yolo-detect yolo-prune \
	yolo-distill yolo-nas-darts yolo-nas-enas yolo-nas-multitrial yolo-int8 \
	convert-compare evaluate-model torch-teacher \
	results bench-level-pruner bench-forms bench-growth bench-quality bench-channels bench-distiller \
	bench-search bench-nni bench-applications

help: ## print this list
	@echo "make demo and make test need nothing else: they set everything up first."
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: DATA=folder EPOCHS=n RUN=name CONFIG=file.yaml SMOKE=1 RESUME=1 ARGS='--any flag'"
	@echo "           TARGET_MACS='0.5 0.25' SCORE=l2 ROUNDS=3, FROM_RUN=folder of unet-level-prune"
	@echo "           TEACHER=file.keras of unet-distill and trash-distill, file.pt of yolo-prune and"
	@echo "           yolo-distill, file.onnx of torch-teacher"
	@echo "           TRIALS=n CONCURRENCY=n TUNER=name PORT=n of searches; PARAMS=best_params.json of one"
	@echo "           RECIPE=file.yaml of unet-compress and trash-compress"
	@echo "           DEVICE=cpu or cuda, STRATEGY=name of architecture searches"
	@echo "           WEIGHTS=file.pt of a detector, T_WEIGHTS=its teacher's, SPARSITY=0.35"
	@echo "           MODEL=file IMAGES=folder; PYTHON=python3.11 PIP_ARGS='--index-url ...' for set-up"
	@echo "Flags of one experiment: make unet-train ARGS=--help"

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	{ echo "error: $(PYTHON) is missing or no Python 3.11 or 3.12 (the pins of requirements.txt" \
	  "have no other). Fix: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(RUN_PYTHON) || $(PYTHON) -m venv $(VENV)
	$(RUN_PYTHON) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.txt
	$(RUN_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(RUN_PYTHON) -m pip check
	@touch $@

setup: $(STAMP) ## make .venv and install the pinned requirements (PIP_ARGS for another index)

demo: $(STAMP) ## the main job on generated tiles, in minutes: train, prune, int8, one page
	$(RUN_PYTHON) -m experiments.demo $(FLAGS) $(ARGS)

unet-train: $(STAMP) ## train the U-Net on DATA (or generated tiles)
	$(RUN_PYTHON) -m experiments.unet.train $(FLAGS) $(ARGS)

unet-level-prune: $(STAMP) ## dense and level-pruned U-Net for the same epochs, and int8
	$(RUN_PYTHON) -m experiments.unet.level_prune $(FLAGS) $(ARGS)

unet-channel-prune: $(STAMP) ## U-Nets with fewer channels for TARGET_MACS, by SCORE, in ROUNDS
	$(RUN_PYTHON) -m experiments.unet.channel_prune $(FLAGS) \
	$(if $(TARGET_MACS),--target-macs $(TARGET_MACS)) $(if $(SCORE),--score $(SCORE)) \
	$(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

unet-tfmot-prune: $(STAMP) ## TFMOT's pruning beside LevelPruner, along the same schedule
	$(RUN_PYTHON) -m experiments.unet.tfmot_prune $(FLAGS) $(ARGS)

unet-qat: $(STAMP) ## int8 in training (QAT, and PQAT that keeps zeros) beside int8 after it
	$(RUN_PYTHON) -m experiments.unet.qat $(FLAGS) $(if $(FROM_RUN),--from-run "$(FROM_RUN)") $(ARGS)

unet-distill: $(STAMP) ## the shrunk U-Net with and without a teacher
	$(RUN_PYTHON) -m experiments.unet.distill $(FLAGS) $(if $(TARGET_MACS),--target-macs $(TARGET_MACS)) \
	$(if $(TEACHER),--teacher "$(TEACHER)") $(ARGS)

unet-int8: $(STAMP) ## MODEL (or a new U-Net) in every LiteRT number format
	$(RUN_PYTHON) -m experiments.unet.int8 $(FLAGS) $(if $(MODEL),--model "$(MODEL)") $(ARGS)

unet-compress: $(STAMP) ## a U-Net through RECIPE (a YAML file): prune, teach, int8, within a budget
	$(RUN_PYTHON) -m experiments.unet.compress $(FLAGS) $(RECIPE_FLAGS) $(ARGS)

unet-predict: $(STAMP) ## color masks for IMAGES of any size with MODEL (.keras or .tflite)
	$(RUN_PYTHON) -m experiments.unet.predict $(FILE_FLAGS) $(if $(IMAGES),--images "$(IMAGES)") \
	$(if $(RUN),--run "$(RUN)") $(ARGS)

unet-hpo: $(STAMP) ## search the U-Net's training by keras-tuner: TRIALS CONCURRENCY TUNER PORT
	$(RUN_PYTHON) -m experiments.search.unet_hpo $(FLAGS) $(SEARCH_FLAGS) $(ARGS)

unet-hpo-nni: $(STAMP) ## the same by an NNI experiment, its web page on loopback at PORT
	$(RUN_PYTHON) -m experiments.search.unet_hpo_nni $(FLAGS) $(SEARCH_FLAGS) $(ARGS)

trash-hpo: $(STAMP) ## search the classifier's training (ARGS="--tool nni" for NNI)
	$(RUN_PYTHON) -m experiments.search.trash_hpo $(FLAGS) $(SEARCH_FLAGS) $(ARGS)

nni-create: $(STAMP) ## nnictl create with CONFIG (experiments/nni/*.yml), patched, at PORT, on DATA
	$(RUN_PYTHON) -m experiments.search.nni_create $(if $(CONFIG),--config-file "$(CONFIG)") \
	$(if $(DATA),--data "$(DATA)") $(if $(PORT),--port $(PORT)) $(if $(TRIALS),--trials $(TRIALS)) \
	$(if $(CONCURRENCY),--concurrency $(CONCURRENCY)) $(if $(TUNER),--tuner $(TUNER)) \
	$(if $(SMOKE),--smoke) $(ARGS)

trash-train: $(STAMP) ## train the trash classifier on class folders DATA (or generated pictures)
	$(RUN_PYTHON) -m experiments.trash.train $(FLAGS) $(ARGS)

trash-distill: $(STAMP) ## distill a small classifier from a large one, factorize it, and both
	$(RUN_PYTHON) -m experiments.trash.distill $(FLAGS) $(if $(TEACHER),--teacher "$(TEACHER)") $(ARGS)

torch-teacher: $(STAMP) ## a PyTorch classifier (TEACHER, an .onnx file, or a new one) teaches a Keras student
	$(RUN_PYTHON) -m experiments.handover.torch_teacher $(FLAGS) $(if $(TEACHER),--teacher "$(TEACHER)") $(ARGS)

trash-tucker: $(STAMP) ## Tucker and SVD factors in MODEL (a .keras classifier), tuned on DATA
	$(RUN_PYTHON) -m experiments.trash.tucker $(FLAGS) $(if $(MODEL),--model "$(MODEL)") $(ARGS)

trash-compress: $(STAMP) ## the trash classifier through RECIPE
	$(RUN_PYTHON) -m experiments.trash.compress $(FLAGS) $(RECIPE_FLAGS) $(ARGS)

trash-score: $(STAMP) ## the competition's score of MODEL (.keras or .tflite) on DATA
	$(RUN_PYTHON) -m experiments.trash.score $(FILE_FLAGS) $(if $(DATA),--data "$(DATA)") $(ARGS)

yolo-train: $(STAMP) ## train MODEL (yolov5n, s, m, l, x) on boxes DATA, taught by T_WEIGHTS if given
	$(RUN_PYTHON) -m experiments.yolo.train $(FLAGS) $(YOLO_FLAGS) \
	$(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(T_WEIGHTS),--teacher "$(T_WEIGHTS)") $(ARGS)

yolo-prune: $(STAMP) ## fewer channels in WEIGHTS or a new MODEL: SPARSITY SCORE ROUNDS, TEACHER too
	$(RUN_PYTHON) -m experiments.yolo.prune $(FLAGS) $(YOLO_FLAGS) $(TAUGHT_FLAGS) \
	$(if $(SPARSITY),--sparsity $(SPARSITY)) $(if $(TARGET_MACS),--target-macs $(TARGET_MACS)) \
	$(SCORE_FLAG) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

yolo-distill: $(STAMP) ## TEACHER teaches WEIGHTS or a new MODEL, beside plain training
	$(RUN_PYTHON) -m experiments.yolo.distill $(FLAGS) $(YOLO_FLAGS) $(TAUGHT_FLAGS) $(ARGS)

yolo-nas-darts: $(STAMP) ## search around MODEL in one supernet (STRATEGY=gumbel, proxyless, random too)
	$(RUN_PYTHON) -m experiments.yolo.nas_oneshot $(FLAGS) $(YOLO_FLAGS) $(NAS_FLAGS) $(ARGS)

yolo-nas-enas: $(STAMP) ## the same with a controller that learns to sample
	$(RUN_PYTHON) -m experiments.yolo.nas_oneshot $(FLAGS) $(YOLO_FLAGS) --strategy enas \
	$(if $(PORT),--port $(PORT)) $(ARGS)

yolo-nas-multitrial: $(STAMP) ## architectures trained one by one: STRATEGY TRIALS CONCURRENCY
	$(RUN_PYTHON) -m experiments.yolo.nas_multitrial $(FLAGS) $(YOLO_FLAGS) $(NAS_FLAGS) \
	$(if $(TRIALS),--trials $(TRIALS)) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY)) $(ARGS)

yolo-detect: $(STAMP) ## boxes drawn on IMAGES of any size by MODEL (a detector's .pt)
	$(RUN_PYTHON) -m experiments.yolo.detect $(FILE_FLAGS) $(if $(IMAGES),--images "$(IMAGES)") \
	$(if $(RUN),--run "$(RUN)") $(ARGS)

yolo-int8: $(STAMP) ## MODEL (a .pt, or a new detector) in every format: mAP, size, latency on DATA
	$(RUN_PYTHON) -m experiments.yolo.int8 $(FLAGS) $(YOLO_FLAGS) $(ARGS)

convert-compare: $(STAMP) ## a detector's MODEL (.pt) to ONNX, LiteRT and Keras, compared on IMAGES
	$(RUN_PYTHON) -m experiments.handover.convert_compare $(FILE_FLAGS) $(if $(IMAGES),--images "$(IMAGES)") \
	$(if $(RUN),--run "$(RUN)") $(ARGS)

evaluate-model: $(STAMP) ## cost of MODEL (.keras, .tflite, .onnx, .pt), and its quality on DATA
	$(RUN_PYTHON) -m experiments.handover.evaluate_model $(FILE_FLAGS) $(if $(DATA),--data "$(DATA)") $(ARGS)

# Two processes run the tests; WORKERS=0 for one, as a debugger needs it. Each takes a stretch of
# files, so that what a module builds once is seldom built twice, and helps the other at the end.
SIDE_BY_SIDE = -n $(WORKERS) --dist worksteal

test: $(STAMP) ## the fast tests, in WORKERS processes (2)
	$(RUN_PYTHON) -m pytest -m "not slow" $(SIDE_BY_SIDE) $(ARGS)

test-slow: $(STAMP) ## real experiments, kills and sweeps
	$(RUN_PYTHON) -m pytest -m slow $(SIDE_BY_SIDE) $(ARGS)

lint: $(STAMP) ## ruff (rules and format), mypy (types of tfcompress) and the import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(RUN_PYTHON) -m pytest -q tests/test_imports.py

docs: $(STAMP) ## the manual, from docs/ and the docstrings, into site/
	NO_MKDOCS_2_WARNING=true $(VENV)/bin/mkdocs build --quiet --strict $(ARGS)
	@echo "open site/index.html"

bench: $(STAMP) ## time and ratios against peers, 20 minutes (ARGS=--record: into benchmarks/records)
	$(RUN_PYTHON) -m benchmarks.run_all $(ARGS)

results: $(STAMP) ## put benchmarks/records into README, docs and the chart (ARGS=--check: compare only)
	$(RUN_PYTHON) -m benchmarks.render $(ARGS)

bench-level-pruner: $(STAMP) ## LevelPruner's cost beside plain training and beside TFMOT
	$(RUN_PYTHON) -m benchmarks.level_pruner $(ARGS)

bench-quality: $(STAMP) ## mean IoU of each form of a U-Net, beside TFMOT's, over seeds (hours)
	$(RUN_PYTHON) -m benchmarks.quality $(ARGS)

bench-forms: $(STAMP) ## latency and file size of each form of a U-Net in LiteRT
	$(RUN_PYTHON) -m benchmarks.forms $(ARGS)

bench-growth: $(STAMP) ## time of each technique against the number of parameters
	$(RUN_PYTHON) -m benchmarks.growth $(ARGS)

bench-distiller: $(STAMP) ## time of a distillation step beside its parts and Keras' own distiller
	$(RUN_PYTHON) -m benchmarks.distiller $(ARGS)

bench-search: $(STAMP) ## overhead of a trial in keras-tuner and in NNI
	$(RUN_PYTHON) -m benchmarks.search $(ARGS)

bench-nni: $(STAMP) ## defects of NNI 3.0 that give no error, alone and patched
	$(RUN_PYTHON) -m benchmarks.nni_defects $(ARGS)

bench-channels: $(STAMP) ## time and memory of channel pruning, and whether latency targets hold
	$(RUN_PYTHON) -m benchmarks.channel_pruning $(ARGS)

bench-applications: $(STAMP) ## channel pruning of every keras.applications model (ARGS=--segmentation)
	$(RUN_PYTHON) -m benchmarks.applications $(ARGS)

clean: ## remove caches and build leftovers (runs and .venv stay)
	rm -rf .mypy_cache .pytest_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
