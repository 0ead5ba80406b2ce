# One virtual environment in .venv, every install through constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
READY := .venv/.ready

.PHONY: venv examine test slow lint bench
venv: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]' --group dev
	touch $(READY)

examine: $(READY)
	$(BIN)/netassay examine

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow'

slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done
