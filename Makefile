# Every target sets up what it needs in a virtual environment of its own, .venv/NAME, and renews it when the sources
# change. What has to be there: Python 3.11 or later and GCC or Clang. CMake and Ninja come with the build if need be.
#
#   make TARGET [PYTHON=python3.13] [CC=clang] [ARGS="for the tool that runs"]

PYTHON ?= python3
ARGS ?=
WITH ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONUNBUFFERED = 1

SOURCES := pyproject.toml CMakeLists.txt docs/package.md LICENSE \
  $(shell find csrc src cmake -type f ! -name '*.pyc')
C_FILES = $(shell find csrc src bench tests examples -type f \( -name '*.[ch]' -o -name '*.[ch]pp' \))

# Tests: a worker a core, and all of a file on one worker, since what a file's tests share is made once.
PYTEST = .venv/test/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
EXTRAS = formats torch reinforcement service-test
EXTRAS_TESTS = $(addprefix tests/, compare docs examples/test_readme.py files keras onnx reference service torch)
# A CPU without AVX-512 (and so without bfloat16), then one without vectors: hidden from us and from torch.
AVX2_ONLY = FASTLSTM_HIDE=avx512 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
SPEED = $(patsubst %,bench/test_%.py,sequence batch training step layers ahead zeros tokens compilers)
LESSER_TESTS = $(SCALAR_TESTS) $(addprefix tests/, docs live torch) \
  $(addprefix tests/, keras/test_torch.py onnx/test_forms.py onnx/test_operator.py)
NUMBERS_TESTS = $(patsubst %,tests/%.py,core/test_forward core/test_gates core/test_zeros core/test_tables \
  core/test_two_ways forms/test_layers training/test_backward training/test_gates)
SCALAR_TESTS = $(addprefix tests/core/test_, activations.py frozen_bits.py objects.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo train service deaf precision studies docs test test-extras test-lesser test-isas \
  bench bench-bytes bench-bytes-lesser bench-speed bench-speed-lesser bench-results bench-pictures regress scaling \
  check check-workflows c sanitize sanitize-thread realtime prove-activations prove-errors prove-contract bits-elsewhere \
  embed-elsewhere python-aarch64 avx512-emulated soak mutate fuzz prove-wheel keras-files sdist clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
	  printf '  make %-18s %s\n' "$$name" "$$text"; done

demo: .venv/demo/ready ## a published character model scores and writes text (ARGS="--length 1000")
	.venv/demo/bin/python examples/textgen $(ARGS)

train: .venv/demo/ready ## train a character model from scratch on the standard library's sources (ARGS="--steps 300")
	.venv/demo/bin/python examples/train_text $(ARGS)

service: .venv/service/ready ## a streaming voice activity service, its page at http://127.0.0.1:8765 (ARGS="--port 80")
	.venv/service/bin/python examples/service $(ARGS)

deaf: .venv/deaf/ready ## an hour of noise makes a published voice detector deaf: who does it (ARGS="--minutes 10 --noise pink")
	.venv/deaf/bin/python examples/deaf $(ARGS)

precision: .venv/precision/ready ## what weights of fewer bytes do to five published models (ARGS="--weights float16 silero")
	.venv/precision/bin/python examples/precision $(ARGS)

test: .venv/test/ready $(WITH:%=.venv/test/with-%) ## the tests (ARGS="-k stream"; WITH="torch formats" for more)
	$(PYTEST) tests $(ARGS)

test-extras: .venv/test/ready $(EXTRAS:%=.venv/test/with-%) ## the tests that need more than `make test` installs
	$(PYTEST) $(EXTRAS_TESTS) $(ARGS)

test-lesser: .venv/test/ready $(EXTRAS:%=.venv/test/with-%) ## what depends on the CPU, as lesser CPUs would run it
	$(AVX2_ONLY) $(PYTEST) $(LESSER_TESTS) $(ARGS)
	FASTLSTM_HIDE=avx512,avx2,neon $(PYTEST) $(SCALAR_TESTS) $(ARGS)

test-isas: .venv/test/ready ## the tests of numbers, each instruction set of this CPU but the best (make test) forced
	@isas=$$(.venv/test/bin/python -P -c "import fastlstm; print(*fastlstm.isas()[1:])") && for isa in $$isas; do \
	  echo "FASTLSTM_ISA=$$isa"; FASTLSTM_ISA=$$isa $(PYTEST) $(NUMBERS_TESTS) $(ARGS) || exit 1; done

bench: .venv/bench/ready .venv/bench/rivals ## the benchmarks, against torch, onnxruntime and others that can be had
	.venv/bench/bin/python -m pytest bench $(ARGS)

bench-bytes: .venv/bench/ready .venv/bench/rivals ## weights in 16 and 8 bits beside others': time, error, memory
	.venv/bench/bin/python -m pytest bench/test_bytes.py $(ARGS)
	.venv/bench/bin/python -m bench.memory

bench-bytes-lesser: .venv/bench/ready .venv/bench/rivals ## the same, as a CPU without AVX-512 would run them
	$(AVX2_ONLY) .venv/bench/bin/python -m pytest bench/test_bytes.py $(ARGS)

bench-speed: .venv/bench/ready .venv/bench/rivals ## some tables: what is to be fast, mostly on one thread (ARGS=--quick)
	.venv/bench/bin/python -m pytest $(SPEED) -k "not two or test_layers" $(ARGS)

bench-speed-lesser: .venv/bench/ready .venv/bench/rivals ## the same, as a CPU without AVX-512 would run them
	$(AVX2_ONLY) .venv/bench/bin/python -m pytest $(SPEED) -k "not two or test_layers" $(ARGS)

bench-results: .venv/bench/ready .venv/bench/rivals ## a dated file in bench/results/, two where AVX-512 can be hidden
	.venv/bench/bin/python -m bench.record $(ARGS)
	! .venv/bench/bin/python -P -c "import fastlstm; print(fastlstm.isa())" | grep -q avx512 || \
	  $(AVX2_ONLY) .venv/bench/bin/python -m bench.record $(ARGS)

bench-pictures: .venv/bench/ready ## tables and drawings of the documentation, from bench/results/ (ARGS=--check)
	.venv/bench/bin/python -m bench.published $(ARGS)

regress: .venv/bench/ready ## whether this tree is slower than the last tag by more than 3 % (ARGS="--quick --fail-above 25")
	.venv/bench/bin/python -m bench.regress $(ARGS)

scaling: .venv/bench/ready .venv/bench/rivals ## up to 16 threads, as far as there are CPUs, in four minutes (ARGS=--quick)
	.venv/bench/bin/python -m bench.scaling $(ARGS)

studies: .venv/studies/ready ## the numbers and drawings of docs/gates.md and its pages, into docs/studies/ (ARGS=--check: compare them)
	.venv/studies/bin/python examples/studies $(ARGS)

docs: .venv/docs/ready ## the documentation as a site, in build/site/ (ARGS="--site-dir FOLDER")
	.venv/docs/bin/python examples/studies --draw
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict $(ARGS)

check: .venv/check/ready ## lint, formatting, types, stubs
	.venv/check/bin/ruff check .
	.venv/check/bin/ruff format --check .
	.venv/check/bin/clang-format --dry-run --Werror $(C_FILES)
	! grep -nE '.{121}' $(C_FILES) $(wildcard src/fastlstm/core/*.p*) # comments, too
	.venv/check/bin/mypy
	cd .venv/check && bin/python -m mypy.stubtest fastlstm._core --mypy-config-file ../../pyproject.toml \
	  --ignore-missing-stub --ignore-disjoint-bases # Cython adds names and keeps signatures to itself

check-workflows: .venv/workflows/ready ## lint .github/
	.venv/workflows/bin/actionlint
	.venv/workflows/bin/zizmor --offline .github

c: .venv/c/ready ## csrc/ alone: build the library, run its C tests
	$(call ctest,build/c,)

sanitize: .venv/c/ready .venv/sanitize/ready ## address and undefined-behaviour sanitizers: C tests, then Python tests
	$(call ctest,build/c-sanitize,-DFASTLSTM_SANITIZE=$(SANITIZE_sanitize))
	$(call preloaded,libasan.so) PYTHONMALLOC=malloc UBSAN_OPTIONS=print_stacktrace=1 \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	  .venv/sanitize/bin/python -m pytest --capture=sys $(SANITIZE_TESTS) -m "not unsanitized" $(ARGS)

sanitize-thread: .venv/c/ready .venv/sanitize-thread/ready ## thread sanitizer: C tests, then Python tests with threads
	$(call ctest,build/c-sanitize-thread,-DFASTLSTM_SANITIZE=$(SANITIZE_sanitize-thread))
	$(call preloaded,libtsan.so) TSAN_OPTIONS=halt_on_error=1 \
	  .venv/sanitize-thread/bin/python -m pytest --capture=sys $(SANITIZE_TESTS) \
	    -m "not unsanitized and not fork" -k "thread or pool" $(ARGS)

realtime: .venv/c/ready ## ten million callbacks of an audio thread, under guard, in minutes (ARGS=100000)
	.venv/c/bin/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/c/bin/ninja -S examples/realtime -B build/realtime
	.venv/c/bin/cmake --build build/realtime
	build/realtime/realtime $(or $(ARGS),10000000)

prove-activations: .venv/test/ready ## sigmoid and tanh over all 2^32 float32 inputs against the bounds they claim
	.venv/test/bin/python -m tests.proofs.activations $(ARGS)

prove-errors: .venv/test/with-torch ## rounding errors of a layer beside torch's, H = 32 to 1024 (ARGS="256 512")
	.venv/test/bin/python -m tests.proofs.rms_error $(ARGS)

prove-contract: .venv/test/ready ## the frozen bits once more, by docs/contract.py in whole numbers, for minutes (ARGS=9000000: hours)
	.venv/test/bin/python -m tests.proofs.contract $(ARGS)

bits-elsewhere: .venv/c/ready ## the frozen bits on other machines, cross-compiled and emulated (ARGS="aarch64 s390x")
	.venv/c/bin/python tests/proofs/bits_elsewhere.py $(ARGS)

embed-elsewhere: .venv/test/ready ## examples/embed for Windows and others, cross-compiled, emulated (ARGS="windows")
	.venv/test/bin/python -m tests.proofs.embed_elsewhere $(ARGS)

python-aarch64: .venv/aarch64/ready ## the package on NEON, emulated: the contract's tests (ARGS="-- tests/live")
	.venv/aarch64/bin/python tests/proofs/python_aarch64.py $(ARGS)

avx512-emulated: .venv/c/ready ## each kernel, and the frozen bits, with AVX-512 on a CPU without it (minutes)
	.venv/c/bin/python tests/proofs/avx512_emulated.py $(ARGS)

soak: .venv/test/ready ## a million random calls, each checked, and nothing left behind (ARGS="--seconds 60")
	.venv/test/bin/python -m tests.proofs.soak $(ARGS)

fuzz: .venv/fuzz/ready ## coverage-guided bytes for the readers of files (ARGS="-max_total_time=600")
	mkdir -p build/fuzz/corpus build/fuzz/found
	.venv/fuzz/bin/python packaging/fuzz/corpus.py build/fuzz/corpus
	cd build/fuzz/found && $(CURDIR)/.venv/fuzz/bin/python $(CURDIR)/packaging/fuzz/files_fuzzer.py \
	  -max_total_time=60 -max_len=20000 -rss_limit_mb=3000 $(ARGS) . ../corpus

prove-wheel: .venv/prove-wheel/ready ## archive, wheel, which manylinux it is, its tests (ARGS="-k frozen")
	rm -rf build/prove-wheel
	.venv/prove-wheel/bin/python -m build --outdir build/prove-wheel
	PATH=$(CURDIR)/.venv/prove-wheel/bin:$$PATH .venv/prove-wheel/bin/auditwheel repair \
	  --wheel-dir build/prove-wheel/repaired build/prove-wheel/*.whl
	.venv/prove-wheel/bin/python -m pip install --quiet --force-reinstall build/prove-wheel/repaired/*.whl
	.venv/prove-wheel/bin/python -P tests/wheel.py $(ARGS)

keras-files: ## the files of tests/data/keras, by thirteen versions of Keras, in /tmp (ARGS="keras-3.5.0")
	$(PYTHON) tests/proofs/keras_files.py $(ARGS)

mutate: .venv/test/ready $(WITH:%=.venv/test/with-%) ## 100 000 damaged files: refused or loaded (WITH="formats torch")
	.venv/test/bin/python -m tests.proofs.mutate $(ARGS)

sdist: .venv/sdist/ready ## the source archive and the wheel that is built from it, in dist/
	.venv/sdist/bin/python -m build --outdir dist $(ARGS)

clean: ## remove what these targets made (but not .cache/, where the demo keeps the model)
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments ----------------------------------------------------------------------------------------------------

# .venv/NAME gets the dependency groups of the same name, and the package unless it says otherwise.
GROUPS_sanitize = sanitize
GROUPS_sanitize-thread = sanitize
PACKAGE = .
PACKAGE_aarch64 =
PACKAGE_c =
PACKAGE_docs =
PACKAGE_sdist =
PACKAGE_workflows =
PACKAGE_prove-wheel =

# Sanitizers: compiled in here, their run-time library preloaded above, since Python itself is not built with it. Python
# leaks on purpose when it ends, so leaks are looked for in the C test alone. Capturing by file would swallow the last
# words. Left out by folder: what has no C in it, or frameworks that the sanitizers do not know; by mark: see
# pyproject.toml.
SANITIZE_sanitize = address,undefined
SANITIZE_sanitize-thread = thread
SANITIZE_TESTS = tests $(addprefix --ignore=tests/, bench examples files keras reference service)
CONFIG_sanitize = $(call sanitized,sanitize)
CONFIG_sanitize-thread = $(call sanitized,sanitize-thread)
sanitized = -C build-dir=build/$(1) -C install.strip=false -C cmake.define.FASTLSTM_SANITIZE=$(SANITIZE_$(1))
preloaded = LD_PRELOAD="$$($(CC) -print-file-name=$(1)) $$($(CC) -print-file-name=libstdc++.so.6)"

define ctest
	.venv/c/bin/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/c/bin/ninja -S . -B $(1) -DFASTLSTM_TESTS=ON $(2)
	.venv/c/bin/cmake --build $(1)
	.venv/c/bin/ctest --test-dir $(1) --output-on-failure
endef

or_default = $(if $(filter undefined,$(origin $(1)_$(2))),$(3),$($(1)_$(2)))

.venv/%/ready: $(SOURCES)
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=...")'
	test -x .venv/$*/bin/pip || $(PYTHON) -m venv --clear .venv/$*
	.venv/$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv/$*/bin/python -m pip install --quiet $(CONFIG_$*) --group $(call or_default,GROUPS,$*,$*) \
	  $(call or_default,PACKAGE,$*,$(PACKAGE))
	@touch $@

# what tests need that most users have no use for: dependency groups, each on top of the one named test
.venv/test/with-%: .venv/test/ready
	.venv/test/bin/python -m pip install --quiet --group $*
	@touch $@

# The rivals are optional: a row without one says so.
.venv/bench/rivals: .venv/bench/ready
	@for group in torch onnxruntime openvino onednn jax; do \
	  .venv/bench/bin/python -m pip install --quiet --group $$group || \
	    echo "bench: $$group cannot be installed here; the benchmarks go on without it" >&2; done
	@touch $@
