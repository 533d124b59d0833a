PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
DATASET ?= ravdess
.DEFAULT_GOAL := help
# keep freed memory in the process: an epoch of cnn_attention then takes 20 % less CPU time (glibc)
export MALLOC_TOP_PAD_ := 134217728
.PHONY: help run test test-slow lab docs web download extract reproduce bench

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: .venv/ready  ## train MLP, LSTM and CNN on one fold, execute the notebooks, build build/site/index.html with both
	$(PY) -m ser_utils evaluate --fold 0
	$(PY) scripts/build_site.py --execute

test: .venv/ready  ## style, types, import layers, and the fast tests
	$(PY) -m ruff check
	$(PY) -m mypy
	.venv/bin/lint-imports --no-cache --no-logo
	$(PY) -m pytest -m "not slow" -n auto --dist loadfile

test-slow: .venv/ready  ## 2,000 malformed files, 60 kills, unusual environments, solutions; writes benchmarks/robustness.json
	SER_FUZZ=2000 SER_KILLS=60 SER_RECORD=$(CURDIR)/benchmarks/robustness.json $(PY) -m pytest -m slow

lab: .venv/ready  ## open JupyterLab with the first notebook
	$(PY) -m jupyter trust notebooks/*.ipynb notebooks/solutions/*.ipynb > /dev/null  # untrusted notebooks do not play audio
	$(PY) -m jupyter lab --config=scripts/jupyterlab/jupyter_lab_config.py

docs: .venv/ready  ## build the documentation into build/site, with the notebooks as committed
	$(PY) scripts/build_site.py

web: .venv/ready  ## serve the live page on localhost:8000: emotion over time from microphone or file, in the browser
	$(PY) scripts/build_web.py --serve

download: .venv/ready  ## download a dataset into data/raw (DATASET=ravdess, ravdess-song or emodb)
	$(PY) -m ser_utils download $(DATASET)

extract: .venv/ready  ## features of your copy of a dataset (DATASET=ravdess or emodb; SER_DATA=folder, else data/raw)
	$(PY) -m ser_utils extract --dataset $(DATASET)

reproduce: .venv/ready  ## every published run of the available corpora, into build/results; an interrupted run is resumed
	$(PY) scripts/reproduce_results.py

bench: build/bench/ready  ## run time against alternatives, ten minutes (SER_DATA=folder of RAVDESS, else data/samples)
	$(PY) benchmarks/run_benchmarks.py

build/bench/ready: .venv/ready benchmarks/requirements.txt
	$(PY) -m venv --clear build/bench
	$(PY) -c "import site; print(site.getsitepackages()[0])" > \
	$$(build/bench/bin/python -c "import site; print(site.getsitepackages()[0])")/ser.pth
	build/bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

.venv/ready: requirements.txt pyproject.toml
	@echo "installing the packages of requirements.txt into .venv, about two minutes"
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@# once, by one process: concurrent compilation can corrupt numba's cache (numba #10128)
	$(PY) -c "from ser_utils.features.descriptors import compile_pyin; compile_pyin()"
	@touch $@
