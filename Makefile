PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
CORPUS ?= ravdess
.DEFAULT_GOAL := help
.PHONY: help run test lab fetch extract reproduce bench fuzz

help:  ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

run: .venv/ready  ## train MLP, LSTM and CNN on one fold, run the notebooks, draw it all as build/report/index.html
	$(PY) -m ser_utils compare --fold 0
	$(PY) tools/notebooks.py

test: .venv/ready  ## style and types, then every test
	$(PY) -m ruff check
	$(PY) -m mypy
	$(PY) -m pytest -n auto --dist loadfile

lab: .venv/ready  ## open JupyterLab
	.venv/bin/jupyter lab --ip=127.0.0.1

fetch: .venv/ready  ## download a corpus into data/raw (CORPUS=ravdess, ravdess-song or emodb)
	$(PY) -m ser_utils fetch $(CORPUS)

extract: .venv/ready  ## features of your own copy of a corpus (CORPUS=ravdess or emodb; SER_DATA=folder, else data/raw)
	$(PY) -m ser_utils extract --corpus $(CORPUS)

reproduce: .venv/ready  ## every published fold and seed, to build/results; resumes where it was stopped
	$(PY) -m ser_utils compare --publish
	@if [ -d build/features/emodb ]; \
	then $(PY) -m ser_utils compare --publish --features build/features/emodb --results build/results/emodb && \
	$(PY) -m ser_utils compare --publish --features data/ravdess build/features/emodb --results build/results/ravdess-emodb; \
	else echo "left out: EMO-DB's rows, whose recordings do not ship; make extract CORPUS=emodb first"; fi

fuzz: .venv/ready  ## 2,000 hostile files, 60 kills: tests at length, into benchmarks/robustness.json
	SER_FUZZ=2000 SER_KILLS=60 SER_RECORD=$(CURDIR)/benchmarks/robustness.json \
	$(PY) -m pytest tests/test_hostile.py tests/test_killed.py

bench: build/bench/ready  ## time the fast paths against their alternatives, half an hour (SER_DATA=folder of RAVDESS, else the miniature)
	$(PY) benchmarks/bench.py

build/bench/ready: .venv/ready benchmarks/requirements.txt
	$(PY) -m venv --clear build/bench
	$(PY) -c "import site; print(site.getsitepackages()[0])" > \
	$$(build/bench/bin/python -c "import site; print(site.getsitepackages()[0])")/ser.pth
	build/bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
