#!/usr/bin/env bash
# The documentation, with warnings (broken links above all) denied.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
RUSTDOCFLAGS="-D warnings" cargo doc --package nervebus --all-features --no-deps
