# The project's commands. `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
SERVERS := $(BIN)/python -m tests.servers
ARGS ?=
PYTHONS ?= python3.12 python3.13 python3.14
# One more than there are processors, since the tests that start workers mostly wait for them.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# Passed on to the benchmarks: W=W1,W2 (workloads) or all, ROUNDS=3, DB=postgres or sqlite, PEERS=1 (other engines, too).
W ?=
ROUNDS ?=
DB ?=
PEERS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The tests start many processes, which would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv lint test test-core test-strict test-sqlite test-postgres test-debian test-browser test-pythons messages demo serve bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Create .venv with everything installed (again when requirements change)

$(STAMP): requirements/constraints.txt requirements/base.txt requirements/test.txt requirements/dev.txt
	@echo "==> $(VENV): installing requirements/dev.txt (about half a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --only-binary :all: -r requirements/dev.txt
	@touch $@
	@echo "==> $(VENV): ready"

lint: $(STAMP) ## Check format, style, types, layers, migrations, spelling and Django's own checks
	@echo "==> lint: ruff format"; $(BIN)/ruff format --check .
	@echo "==> lint: ruff"; $(BIN)/ruff check .
	@echo "==> lint: mypy"; $(BIN)/mypy
	@echo "==> lint: layers"; $(BIN)/lint-imports --no-logo
	@echo "==> lint: migrations"; $(BIN)/python manage.py makemigrations --check --dry-run
	@echo "==> lint: spelling"; $(BIN)/codespell
	@echo "==> lint: Django checks"; $(BIN)/python manage.py check --fail-level WARNING

test: ## Run every test: the core with its branch coverage, then the rest on SQLite, and on PostgreSQL with Redis
	@echo "==> test 1/4: environment"
	@$(MAKE) --no-print-directory venv
	@echo "==> test 2/4: the core and its branch coverage"
	@$(MAKE) --no-print-directory test-core
	@echo "==> test 3/4: SQLite"
	@$(MAKE) --no-print-directory test-sqlite
	@echo "==> test 4/4: PostgreSQL and Redis"
	@$(MAKE) --no-print-directory test-postgres
	@echo "==> test: all passed"

# The core and the analyzer need no database.
WITH_DATABASE := $(PYTEST) -n $(JOBS) --dist load --ignore=tests/core --ignore=tests/analyzer

test-core: $(STAMP) ## Run the tests that need no database; every branch of the core must be covered by its own
	$(PYTEST) -n $(JOBS) --dist load tests/core --cov --cov-report=term-missing:skip-covered $(ARGS)
	$(PYTEST) -n $(JOBS) --dist load tests/analyzer $(ARGS)

test-sqlite: $(STAMP) ## Run the tests on SQLite
	env -u DATABASE_URL -u BROKER_URL $(WITH_DATABASE) $(ARGS)

test-postgres: $(STAMP) ## Run the tests on PostgreSQL and Redis (throw-away ones, or DATABASE_URL and BROKER_URL)
	$(SERVERS) --postgres --redis -- $(WITH_DATABASE) $(ARGS)

# Installs what is missing of Debian's packages; whoever is not root is told the command.
define install
missing=$$($(BIN)/python -c 'from tests import debian; print(*debian.$(1))'); \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" != 0 ]; then echo "Missing Debian packages; as root: apt-get install $$missing" >&2; exit 1; fi; \
		echo "==> apt-get install $$missing"; \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

test-debian: $(STAMP) ## Run the tests marked debian on MariaDB and RabbitMQ, installed from Debian's packages if missing
	@$(call install,missing())
	env -u DATABASE_URL -u BROKER_URL $(SERVERS) --mariadb --rabbitmq -- $(PYTEST) -m debian $(ARGS)

test-browser: $(STAMP) ## Run the tests of the admin in Chromium, installed from Debian's packages if missing
	@$(call install,missing(debian.BROWSER))
	env -u DATABASE_URL -u BROKER_URL $(PYTEST) -m browser tests/browser $(ARGS)

test-pythons: $(STAMP) ## Record histories on other Pythons and replay them on each other: PYTHONS="python3.12 python3.13"
	@set -e; ready=""; for python in $(PYTHONS); do \
		command -v $$python >/dev/null || continue; \
		home=var/pythons/$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		test -x $$home/bin/python || $$python -m venv $$home; \
		$$home/bin/python -m pip install --quiet --only-binary :all: -c requirements/constraints.txt msgspec; \
		ready="$$ready $(CURDIR)/$$home/bin/python"; \
	done; \
	if [ -z "$$ready" ]; then echo 'No other Python found. Name some: make test-pythons PYTHONS="/path/to/python3.12"' >&2; exit 1; fi; \
	echo "==> test-pythons:$$ready"; \
	PYTHONS="$$ready" $(PYTEST) tests/test_pythons.py -n0 $(ARGS)

messages: $(STAMP) ## Renew the catalogues of translations in durable/locale, and name what is to be translated
	@$(BIN)/python -m tests.messages

demo: $(STAMP) ## Show durable at work: crash, recover, and repair what failed
	@env -u DATABASE_URL -u BROKER_URL $(BIN)/python manage.py durable_demo

serve: $(STAMP) ## Run a worker and the admin on what the demo left (runs the demo first if need be)
	@env -u DATABASE_URL -u BROKER_URL $(BIN)/python manage.py durable_demo --serve

bench: $(STAMP) ## Measure the workloads: make bench [W=W1,W2] [ROUNDS=3] [DB=postgres] [PEERS=1]
	$(BIN)/python -m benchmarks $(W) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DB),--db $(DB)) $(if $(PEERS),--peers) $(ARGS)

clean: ## Remove everything that the other commands made
	rm -rf $(VENV) var build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
