# Every target builds .venv first, from nothing but python3 with its venv module (Debian: python3-venv).
#
#   make demo           the whole life of a list, on this machine
#   make test           everything that is checked before a commit: `make check`, then all tests
#   make check          linters and types only
#   make bench          how fast it is, beside what this machine could do (twelve minutes; bench/README.md)
#   make fuzz           strangers' bytes at random, for FUZZ_SECONDS (60) in all (fuzz/README.md)
#   make mutants        takes out each guard of docs/threats.md, one by one, and sees that its tests fail
#   make format         let ruff mend what it can
#   make requirements   resolve the requirement files anew (needs uv)
#   make clean          remove all that these targets made

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/ready
FUZZ_SECONDS ?= 60

.PHONY: demo test check bench mutants fuzz format requirements clean
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/mailer demo

test: check
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict mailer
	$(BIN)/lint-imports --no-cache

bench: $(READY)
	@$(BIN)/python -m bench

fuzz: $(FUZZ_READY)
	@$(FUZZ_VENV)/bin/python -m fuzz --seconds $(FUZZ_SECONDS)

mutants: $(READY)
	@$(BIN)/python -m mutants

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The old environment goes first: a package that is no longer required must not linger and hide a missing requirement.
$(READY): requirements-test.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Mailer needs Python 3.11 or newer; say which, as in: make PYTHON=/usr/bin/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make environments; on Debian: apt install python3-venv" >&2; exit 1; }
	$(call make_environment,$(VENV),requirements-test.txt)
	@touch $@

$(FUZZ_READY): requirements-fuzz.txt pyproject.toml
	$(call make_environment,$(FUZZ_VENV),requirements-fuzz.txt)
	@touch $@

# $(1): where. $(2): the file of requirements.
define make_environment
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(2)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endef

# Without any setting of this machine, so that everybody who runs this gets the same files.
COMPILE = env -i PATH="$$PATH" HOME="$$HOME" UV_NO_CONFIG=1 $(UV) pip compile --quiet --universal \
	  --python-version 3.11 --system-certs --generate-hashes --upgrade --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make requirements' pyproject.toml --group build

requirements:
	@command -v $(UV) >/dev/null || { echo "make requirements needs uv; say where it is: make requirements UV=PATH" >&2; exit 1; }
	$(COMPILE) -o requirements.txt
	$(COMPILE) --group test -o requirements-test.txt
	$(COMPILE) --group fuzz -o requirements-fuzz.txt

clean:
	rm -rf $(VENV) $(FUZZ_VENV) fuzz/corpus fuzz/found build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis bench/cache bench/latest.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
