#!/usr/bin/env bash
# Every check there is, as CI runs them. Needs the dev extra: pip install -e ".[dev]"
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

ruff format --check .
ruff check .
mypy
lint-imports
python -m cogapp --check docs/cli.md
python -m pytest tests --numprocesses 2 --dist worksteal
