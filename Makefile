# Two commands do all the set-up on a machine with Python 3.11 or 3.12, pip and make:
#   make demo    make test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-out

MODELS := .venv-models

.PHONY: demo test chaos browser models test-models check format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[curate,demo,look,train,dev]'
	touch $@

demo: $(VENV)/.installed
	rm -rf $(DEMO)/run $(DEMO)/latents $(DEMO)/trained $(DEMO)/generated $(DEMO)/judged
	$(BIN)/curate demo $(DEMO)/footage
	$(BIN)/curate run $(DEMO)/footage --out $(DEMO)/run --set pack.samples_per_shard=8
	$(BIN)/shards verify $(DEMO)/run
	$(BIN)/curate demo $(DEMO)/footage --check $(DEMO)/run
	$(BIN)/talk precompute --recipe tiny --data $(DEMO)/run --out $(DEMO)/latents --variants 16
	$(BIN)/talk train --recipe tiny --data $(DEMO)/latents --out $(DEMO)/trained \
		--set phases.align.steps=300 --set phases.hybrid.steps=100 --set run.log_every_steps=50
	$(BIN)/curate demo $(DEMO)/held-out --held-out
	mkdir -p $(DEMO)/generated
	$(BIN)/talk generate --model $(DEMO)/trained/model --audio $(DEMO)/held-out/held_out.mp4 \
		--image $(DEMO)/held-out/portrait.png --prompt "A person talks to the camera." \
		--steps 16 --guidance audio_only --audio-guidance 2 --out $(DEMO)/generated/held_out.mp4
	$(BIN)/talk evaluate --generated $(DEMO)/generated --reference $(DEMO)/held-out \
		--out $(DEMO)/judged
	@echo "look at $(DEMO)/run/report/index.html, $(DEMO)/run/dataset and $(DEMO)/run/sources.parquet;"
	@echo "what a tiny model made of it: $(DEMO)/judged/index.html (it proves the road, no more)"

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Runs that are killed at random moments, beyond what the tests do; some minutes.
chaos: $(VENV)/.installed
	$(BIN)/python -m benchmarks.chaos

# The tests of the `shards serve` page drive a real Chromium; without one they skip.
browser:
	@for name in chromium chromium-browser google-chrome; do \
		command -v $$name && exit 0; \
	done; \
	if test "$$(id -u)" != 0 || ! command -v apt-get > /dev/null; then \
		echo "no Chromium here, and no apt-get as root to install it: install one by hand" >&2; \
		exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-liberation

# Stages with a large network (SyncNet, WhisperX, open_clip) live in an environment of their own.
$(MODELS)/.installed: pyproject.toml models-constraints.txt
	test -x $(MODELS)/bin/python || $(PYTHON) -m venv $(MODELS)
	$(MODELS)/bin/python -m pip install --quiet --disable-pip-version-check -c models-constraints.txt -e '.[curate,models,demo,look,dev]'
	touch $@

models: $(MODELS)/.installed

test-models: $(MODELS)/.installed $(VENV)/.installed
	$(BIN)/python -m pytest tests/curation/test_measure_later.py
	$(MODELS)/bin/python -m pytest tests/stages/test_syncnet.py tests/stages/test_syncnet_stage.py \
		tests/stages/test_embedding.py tests/stages/test_whisperx.py tests/stages/test_weights.py

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
