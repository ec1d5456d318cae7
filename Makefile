# make env    the environment, in .venv; DEVICE=cuda or cpu in place of what the machine has
# make demo   train and test both families on the embedded data set, on the CPU or a GPU
# make test   the tests and the linter
# make docs   the pages in docs/ as a site, in site/, with an environment of their own
# make gpu-report     all that a GPU can prove, as a page and JSON in benchmarks/results/
# make test-fast      what needs no training in processes of its own, for the daily round
# make test-sanitize  the C++ kernels built to report memory errors: their tests, short trainings
PYTHON ?= python3
VENV ?= .venv
DEVICE ?= auto
# A process for each core, up to eight; a file's tests share one, and what its fixtures trained.
PYTEST = $(VENV)/bin/python -m pytest -n logical --maxprocesses 8 --dist loadfile

# A copy of the package with its own library: the normal one stays as it is.
SANITIZED = build/sanitized
SANITIZE = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZED_TESTS = $(addprefix test_ops/,test_sanitizers.py test_attention.py test_batch_norm.py \
	test_scan/test_cpu.py test_scan/test_selective_scan.py) test_tools/test_signals_in_mid_step.py

.PHONY: env demo test test-fast test-sanitize docs gpu-report lint clean

env:
	@$(PYTHON) tools/setup_env.py --venv $(VENV) --device $(DEVICE)

demo: env
	@$(VENV)/bin/python tools/demo.py

test: env lint
	@$(PYTEST)

test-fast: env
	@$(PYTEST) -m "not slow"

# By pytest itself and not `python -m`, which would put this folder's package first.
test-sanitize: env
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@cp -r mmvision_mamba $(SANITIZED) && rm -f $(SANITIZED)/mmvision_mamba/ops/_kernels*
	@g++ -std=c++17 $(SANITIZE) -fno-math-errno -fno-trapping-math -w -fopenmp -shared -fPIC \
		mmvision_mamba/ops/csrc/*.cpp -o $(SANITIZED)/mmvision_mamba/ops/_kernels.so
	@PYTHONPATH=$(CURDIR)/$(SANITIZED) \
		LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(VENV)/bin/pytest $(addprefix tests/,$(SANITIZED_TESTS))

DOCS = build/docs

docs: $(DOCS)/installed
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

$(DOCS)/installed: requirements/docs.txt requirements/constraints.txt
	@$(PYTHON) -m venv --clear $(DOCS)
	@$(DOCS)/bin/pip install -qq --disable-pip-version-check \
		-c requirements/constraints.txt -r requirements/docs.txt
	@touch $@

# One part: make gpu-report PART=scan_time.
gpu-report: env
	@$(VENV)/bin/python benchmarks/gpu_report.py $(if $(PART),--part $(PART))

lint: env
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) build/sanitized $(DOCS) site work_dirs data/shapes
