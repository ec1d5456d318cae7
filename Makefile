PYTHON ?= python3
VENV ?= .venv

.PHONY: env demo test lint clean

env:
	@$(PYTHON) tools/setup_env.py --venv $(VENV)
