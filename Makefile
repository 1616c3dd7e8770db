# make demo   sets up .venv and runs the recipe end to end on synthetic speech
# make test   sets up .venv, lints, and runs all tests except slow ones
# make test-all   the same with the slow ones
# make docs   sets up .venv and builds the documentation as a site in build/docs/html
#
# PYTHON=python3.12    which Python to build .venv from (at least 3.10)
# TORCH_BACKEND=cpu    take the CPU build of torch from PyTorch's index, where yours would pull CUDA
#                      (or any other build: cu130, rocm7.1, ...); default: whatever pip finds

PYTHON ?= python3
TORCH_BACKEND ?=
export PYTHON TORCH_BACKEND

# console scripts by name, as in an activated environment; not for 'venv', which may replace that environment
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"

# the marker in pytest.ini; 'make test-all' empties it
MARKED = -m "not slow"

.PHONY: help demo test test-all lint pytest docs venv clean

help:
	@echo "make demo    set up .venv and run egs/mini/run.sh: training, diarization, DER, report"
	@echo "make test    set up .venv, lint, run every test but the slow ones"
	@echo "make test-all  the same, and the slow ones"
	@echo "make docs    set up .venv, build the documentation as a site: build/docs/html"
	@echo "make lint    ruff, mypy, shellcheck"
	@echo "make venv    only set up .venv"
	@echo "make clean   remove .venv, the demo's files and caches; your experiments stay"
	@echo "PYTHON=python3.12 chooses the Python, TORCH_BACKEND=cpu the CPU build of torch"

demo: venv
	@$(IN_VENV) egs/mini/run.sh

test: lint pytest

test-all: MARKED =
test-all: lint pytest

# after lint, also under make -j: its answer comes first and in one piece. Byte code is kept, also where the environment
# says otherwise: hundreds of processes are started, and each would compile the package anew
pytest: lint
	$(IN_VENV) OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= python -m pytest -n 2 --dist worksteal -ra tests $(MARKED)

docs: venv
	.venv/bin/python tools/build_docs.py

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/shellcheck -x .ci/run $$(find egs tools tests -name '*.sh')

venv:
	@tools/setup_venv.sh

clean:
	rm -rf .venv build dist *.egg-info egs/*/exp/demo
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
