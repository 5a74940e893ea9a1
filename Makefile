# Every target works from a bare checkout: it makes the virtual environment that it needs.
#   make test PYTHON=python3.12 VENV=.venv-3.12    another Python, beside the first
#   make test ARGS="-k lookup"                     arguments for pytest
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

run := $(VENV)/bin/python
install := $(run) -m pip install -qq --disable-pip-version-check --editable

compiled := .venv-compiled

.PHONY: demo tutorial tutorial-gpu test test-compiled test-dynet test-gpu lint types docs bench
.PHONY: bench-dynet bench-calls bench-overhead bench-compiled bench-small bench-rounds bench-optim clean

demo: $(VENV)/.examples
	$(run) examples/classify_sequences.py $(ARGS)

# Runs the notebooks on the real data and keeps their outputs. Notebook 3 is left as it is where
# PyTorch, TensorFlow or DyNet is missing. ARGS="examples/tutorial/1_neuron.ipynb" runs one.
tutorial: $(VENV)/.test
	$(run) examples/tutorial/execute.py $(ARGS)

# Notebook 7, which `make tutorial` leaves as it is where there is no GPU, on the emulated one.
tutorial-gpu: $(VENV)-gpu/.gpu
	bash $(abspath $(emulator))/run.sh $(abspath $(VENV)-gpu)/bin/python examples/tutorial/execute.py examples/tutorial/7_gpu.ipynb

# Arrays in the tests are small: a second BLAS thread would only wait for the first.
test: export OPENBLAS_NUM_THREADS = 1
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.test
	$(run) -m pytest $(ARGS)

# The same tests against an installed wheel with compiled modules. They run in a copy, so that the
# sources are not what is imported; doctests of the package are left to `make test`.
test-compiled: export OPENBLAS_NUM_THREADS = 1
test-compiled: export OMP_NUM_THREADS = 1
test-compiled: export LAZYNET_COMPILE = 1
test-compiled: $(compiled)/.installed
	rm -rf $(compiled)/copy && mkdir $(compiled)/copy
	cp -r tests examples benchmarks docs README.md CONTRIBUTING.md pyproject.toml $(compiled)/copy
	cd $(compiled)/copy && PYTHONMALLOC=debug ../bin/python -m pytest tests/test_tape.py
	cd $(compiled)/copy && ../bin/python -m pytest tests $(ARGS)

# Every test that computes, on an emulated GPU: the emulator lies beside the checkout, where there
# is one. `tests/devices.py` lists what is left out, and why. Four jobs: what runs on either device
# (with device memory open to the host: closing it again and again takes most of the time), in two
# halves; what only runs on a GPU, its kernels compiled for real ones as well; the same, its kernels
# watched for accesses beyond their arrays.
emulator := ../shared/cuda-emulator
emulated := bash $(abspath $(emulator))/run.sh $(abspath $(VENV)-gpu)/bin/python -m pytest -m gpu
gpu_tests := $(wildcard tests/test_gpu*.py)
gpu_jobs := gpu-results gpu-dynet gpu-kernels gpu-accesses

test-gpu: $(VENV)-gpu/.gpu
	$(MAKE) --no-print-directory -j2 -O $(gpu_jobs)

$(gpu_jobs): export OPENBLAS_NUM_THREADS = 1
$(gpu_jobs): export OMP_NUM_THREADS = 1
gpu-results gpu-dynet: export CUDA_EMULATOR_GUARD = 0
gpu-results: $(VENV)-gpu/.gpu
	$(emulated) $(filter-out $(gpu_tests),$(wildcard tests/test_*.py)) $(ARGS)

gpu-dynet: $(VENV)-gpu/.gpu
	$(emulated) tests/dynet $(ARGS)

gpu-kernels: export CUDA_EMULATOR_CHECK = 80,90
gpu-kernels: $(VENV)-gpu/.gpu
	$(emulated) $(gpu_tests) $(ARGS)

gpu-accesses: export CUDA_EMULATOR_MEMCHECK = 1
gpu-accesses: $(VENV)-gpu/.gpu
	$(emulated) $(gpu_tests) $(ARGS)

# What DyNet's wheel computes, against what is stored of it; and files from one to the other.
test-dynet: export OPENBLAS_NUM_THREADS = 1
test-dynet: export DYNET_PYTHON = $(abspath $(VENV)-dynet/bin/python)
test-dynet: $(VENV)-dynet/.dynet $(VENV)/.test
	$(VENV)-dynet/bin/python tests/dynet/record.py --check
	$(VENV)-dynet/bin/python tests/dynet/record_programs.py --check
	$(VENV)-dynet/bin/python tests/dynet/record_api.py --check
	$(run) -m pytest tests/dynet/test_files.py $(ARGS)

# What a node costs in the compiled package.
bench-compiled: export LAZYNET_COMPILE = 1
bench-compiled: $(compiled)/.installed
	$(compiled)/bin/python benchmarks/overhead.py $(ARGS)

lint: $(VENV)/.lint
	$(run) -m ruff check
	$(run) -m ruff format --check

types: $(VENV)/.lint
	$(run) -m mypy --strict lazynet tests/typing/program.py

# The texts and the reference as pages, which open from disk: site/index.html.
docs: $(VENV)/.docs
	$(run) -m docs.build site

# The peers (DyNet, PyTorch) stay in a virtual environment of their own.
bench: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python -m benchmarks.suite $(ARGS)

# Programs written for DyNet, in DyNet and in lazynet.
bench-dynet: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python benchmarks/dynet_programs.py $(ARGS)

# Single calls of DyNet's interface, in DyNet and in lazynet.
bench-calls: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python benchmarks/dynet_calls.py $(ARGS)

bench-overhead: $(VENV)/.examples
	$(run) benchmarks/overhead.py $(ARGS)

bench-small: export OPENBLAS_NUM_THREADS = 1
bench-small: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python benchmarks/small.py $(ARGS)

# Coroutines run together, a lock-step loop by hand, and one example at a time.
bench-rounds: export OPENBLAS_NUM_THREADS = 1
bench-rounds: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python benchmarks/rounds.py $(ARGS)

# ARGS="--against CHECKOUT" compares with another revision.
bench-optim: export OPENBLAS_NUM_THREADS = 1
bench-optim: $(VENV)/.examples
	$(run) benchmarks/optim.py $(ARGS)

clean:
	rm -rf .venv .venv-* build dist site lazynet.egg-info .hypothesis .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# The empty files stand for finished installs, so that one cut short is repeated.
%/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "lazynet needs Python 3.10 or newer, not " + sys.version.split()[0] + ": make PYTHON=... VENV=...")'
	$(PYTHON) -m venv $(@D)
	@touch $@

$(VENV)/.examples: pyproject.toml $(VENV)/.made
	$(install) '.[examples,viz]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.made
	$(install) '.[test,examples]'
	@touch $@

# The emulator's set-up adds CuPy.
$(VENV)-gpu/.gpu: pyproject.toml $(VENV)-gpu/.made
	$(VENV)-gpu/bin/python -m pip install -qq --disable-pip-version-check --editable '.[test,examples]'
	bash $(emulator)/setup.sh $(abspath $(VENV)-gpu)
	@touch $@

# Installed as users do, which compiles what runs for every node.
$(VENV)-bench/.bench: pyproject.toml setup.py $(wildcard lazynet/*.py lazynet/*/*.py)
	@test -e $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install -qq --disable-pip-version-check '.[bench]'
	@touch $@

$(VENV)-dynet/.dynet: pyproject.toml $(VENV)-dynet/.made
	$(VENV)-dynet/bin/python -m pip install -qq --disable-pip-version-check dynet38==2.2
	@touch $@

# Installed anew whenever a source changed: unlike the other environments, this one holds a copy.
$(compiled)/.installed: pyproject.toml setup.py $(shell find lazynet -name '*.py') $(compiled)/.made
	$(compiled)/bin/python -m pip uninstall -qq --disable-pip-version-check --yes lazynet
	$(compiled)/bin/python -m pip install -qq --disable-pip-version-check '.[test,examples]'
	@touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.made
	$(install) '.[lint]'
	@touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.made
	$(install) '.[docs]'
	@touch $@
