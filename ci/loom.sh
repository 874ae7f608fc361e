#!/usr/bin/env bash
# The models of the lock-free protocols. The cfg they need is set by loom-tests/.cargo/config.toml, which cargo reads
# from the current folder, and which RUSTFLAGS in the environment would replace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../loom-tests"

unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
cargo test --release
