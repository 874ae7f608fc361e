#!/usr/bin/env bash
# Clippy with warnings denied: the libraries and commands under every house rule, then all targets, in which tests,
# examples and benches may unwrap, print, read the clock and start threads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo clippy --package nervebus-core --package nervebus --package nervebus-macros --package nervebus-cli --lib --bins -- -D warnings
cargo clippy --package nervebus --features affinity --lib -- -D warnings
cargo clippy --package nervebus --all-features --lib -- -D warnings
cargo clippy --package nervebus --no-default-features --lib -- -D warnings
cargo clippy --package nervebus-core --no-default-features -- -D warnings
cargo clippy --package nervebus-core --no-default-features --features alloc -- -D warnings
cargo clippy --package nervebus-core --no-default-features --features critical-section -- -D warnings

# Without the features and with all of them.
for features in "" --all-features; do
    cargo clippy --workspace --all-targets $features -- -D warnings \
        -A clippy::disallowed_methods -A clippy::unwrap_used -A clippy::expect_used \
        -A clippy::print_stdout -A clippy::print_stderr
done
