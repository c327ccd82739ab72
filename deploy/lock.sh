#!/usr/bin/env bash
# Writes requirements.lock: every dependency with its hashes, for Python 3.11 and newer on every platform, no index named.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/python" -m pip install -q --disable-pip-version-check uv
"$tools/bin/uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
    --upgrade --no-emit-index-url --no-emit-find-links --no-annotate --no-header -q -o requirements.lock
echo "requirements.lock: $(grep -c '==' requirements.lock) packages"
