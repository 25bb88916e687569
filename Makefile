# make demo   the main job against the embedded sample archive, no network but the package registry
# make test   linter, type checker, all tests
# make tools  NautilusTrader, hftbacktest, freqtrade and vectorbt, each in its own environment (4 GB with ArcticDB), for
#             the tests of exports, which skip without them; two to four minutes, so make test does not ask for it;
#             the benchmark of the loader has NautilusTrader and ArcticDB from there
# make site   the documentation as a site under site/, without warnings or not at all
# make bench  the benchmarks; BHDS=/path/to/python names one that has binance_datatool; polars takes part
#             where it is installed into .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

TOOLS := .venv-tools
TOOL_NAMES := nautilus hftbacktest freqtrade vectorbt arctic
TOOL_STAMPS := $(TOOL_NAMES:%=$(TOOLS)/%/.installed)

.PHONY: demo test lint kernels site bench tools clean

demo: $(STAMP)
	@$(BIN)/python scripts/demo.py

test: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory --jobs=2 lint kernels
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What numba compiles is compiled once, while the linters run, and not by each worker of the tests at the same time.
kernels: $(VENV)/.installed-dev
	$(BIN)/python tests/kernels.py

site: $(VENV)/.installed-dev
	$(BIN)/zensical build --strict --clean

tools: $(TOOL_STAMPS)

# A tool's dependencies conflict with ours and with each other's. One that this Python cannot have is said and left
# out: make -k tools goes on with the others.
$(TOOLS)/%/.installed: tests/tools/requirements-%.txt
	@echo "installing $* into $(TOOLS)/$* ..."
	@$(PYTHON) -m venv --clear $(TOOLS)/$* && \
		$(TOOLS)/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< || \
		{ rm -rf $(TOOLS)/$*; echo "$* could not be installed: its tests will skip" >&2; exit 1; }
	@touch $@

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/download.py --rounds 5 $(if $(BHDS),--bhds $(BHDS))
	$(BIN)/python benchmarks/chaos.py --kills 0 --objects 200 --share 0.03 --rate 4000000 --workers 32
	$(BIN)/python benchmarks/chaos.py
	$(BIN)/python benchmarks/convert.py --rounds 5
	$(BIN)/python benchmarks/convert.py --big
	$(BIN)/python benchmarks/decimals.py
	$(BIN)/python benchmarks/layouts.py --rows 4000000 --rounds 5
	$(BIN)/python benchmarks/end_to_end.py --files 5000 --rounds 3
	$(BIN)/python benchmarks/update.py --symbols 500 --days 10 --rounds 3
	$(BIN)/python benchmarks/integrity.py --symbols 500 --rounds 3
	$(BIN)/python benchmarks/loader.py --rounds 7
	$(BIN)/python benchmarks/bars.py
	$(BIN)/python benchmarks/bars_stored.py
	$(BIN)/python benchmarks/features.py

clean:
	rm -rf $(VENV) $(TOOLS) site .mypy_cache .pytest_cache .ruff_cache data/demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tapevault needs Python 3.11 or newer; try: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): requirements.txt pyproject.toml | $(BIN)/python
	@echo "installing what requirements.txt pins into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
