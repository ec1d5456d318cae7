# make env    the environment, in .venv
# make demo   train and test both families on the embedded data set, on the CPU or a GPU
# make test   the tests and the linter
PYTHON ?= python3
VENV ?= .venv

.PHONY: env demo test lint clean

env:
	@$(PYTHON) tools/setup_env.py --venv $(VENV)

demo: env
	@$(VENV)/bin/python tools/demo.py

test: env lint
	@$(VENV)/bin/python -m pytest

lint: env
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) work_dirs data/shapes
