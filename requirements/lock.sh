#!/bin/sh
# Renews the locked requirements: versions and hashes only, no download addresses.
set -eu
cd "$(dirname "$0")/.."
lock() {
  out=$1
  shift
  "${UV:-.venv/bin/uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@" pyproject.toml -o "requirements/$out"
}
lock gateway.txt --extra ble --extra gpio --extra i2c
lock hub.txt --extra hub
lock dev.txt --all-extras
