# Two commands do all the set-up on a machine with Python 3.11 or 3.12, pip and make:
#   make demo    make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-out

.PHONY: demo test check format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[curate,demo,dev]'
	touch $@

demo: $(VENV)/.installed
	rm -rf $(DEMO)/run
	$(BIN)/curate demo $(DEMO)/footage
	$(BIN)/curate run $(DEMO)/footage --out $(DEMO)/run --set pack.samples_per_shard=8
	$(BIN)/shards verify $(DEMO)/run
	$(BIN)/curate demo $(DEMO)/footage --check $(DEMO)/run
	@echo "look at $(DEMO)/run/report/index.html, $(DEMO)/run/dataset and $(DEMO)/run/sources.parquet"

test: $(VENV)/.installed
	$(BIN)/python -m pytest

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pydoclint -q manifests stages curation training

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO)
