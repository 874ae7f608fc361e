#!/usr/bin/env bash
# Formatting of all five workspaces.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo fmt --all --check
cargo fmt --manifest-path loom-tests/Cargo.toml --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
cargo fmt --manifest-path ci/no-std/Cargo.toml --check
cargo fmt --manifest-path ci/bare-metal/Cargo.toml --check
