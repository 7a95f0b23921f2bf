.DEFAULT_GOAL := help
.PHONY: help test slow lint fix tables docs bench

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

test:  ## the default tests
	uv run pytest

slow:  ## longer counts of the same tests
	uv run pytest -m slow

lint:  ## style, types and stale tables
	uv run ruff check
	uv run ruff format --check
	uv run pyright
	uv run python -m benchmarks.tables --check

fix:  ## repair style, rewrite generated tables
	uv run ruff check --fix
	uv run ruff format
	uv run python -m benchmarks.tables

tables:  ## rewrite the tables of README, documents and benchmarks from code and result files
	uv run python -m benchmarks.tables

docs:  ## the documentation as HTML in docs/_build
	uv run --group docs sphinx-build -W -b html docs docs/_build

bench:  ## measure memory and time again, into runs/bench
	uv run locallearn bench --no-time --workers 2 --out runs/bench
	uv run locallearn bench --network resnet32 --no-memory --resume --out runs/bench
