#!/usr/bin/env bash
# Each fuzz target for some seconds: NERVEBUS_FUZZ_SECONDS, or 20. Arguments are the targets; without any, all of them.
# A nightly toolchain is needed; where there is none, the step is skipped with a notice, or fails if NERVEBUS_REQUIRE_FUZZ
# is set. cargo-fuzz is installed into the target folder if it is missing, which takes a minute or two.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

skip() {
    if [[ -n ${NERVEBUS_REQUIRE_FUZZ:-} ]]; then
        printf 'error: %s, and NERVEBUS_REQUIRE_FUZZ is set\n' "$1" >&2
        exit 1
    fi
    printf 'notice: %s; SKIPPED: nothing was fuzzed\n' "$1"
    exit 0
}

command -v rustup >/dev/null && rustc +nightly --version || skip "there is no nightly toolchain"
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
export PATH="$tools/bin:$PATH"
if ! command -v cargo-fuzz >/dev/null; then
    cargo install --locked --root "$tools" cargo-fuzz@0.13.2 || skip "cargo-fuzz could not be installed"
fi

targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi
for target in "${targets[@]}"; do
    printf '\n--> %s\n' "$target"
    cargo +nightly fuzz run "$target" -- \
        -max_total_time="${NERVEBUS_FUZZ_SECONDS:-20}" -max_len=4096 -timeout=10 -print_final_stats=1
done
