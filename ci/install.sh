#!/usr/bin/env bash
# Installs what the other steps need, and only what is missing: a Rust toolchain, rustfmt, clippy and a linker.
set -euo pipefail

if ! command -v cargo >/dev/null; then
    echo "no cargo on the path: installing the stable toolchain with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
fi
if ! cargo fmt --version >/dev/null 2>&1; then
    rustup component add rustfmt
fi
if ! cargo clippy --version >/dev/null 2>&1; then
    rustup component add clippy
fi
if ! command -v cc >/dev/null; then
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
    else
        echo "error: rustc needs a C compiler as its linker, and there is no 'cc' on the path" >&2
        exit 1
    fi
fi
rustc --version
cargo --version
