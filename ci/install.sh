#!/usr/bin/env bash
# Installs what the other steps need, and only what is missing: rustfmt, clippy, a linker and, where that is possible,
# the emulators of ci/bare_metal.sh.
set -euo pipefail

if ! command -v cargo >/dev/null; then
    echo "error: there is no 'cargo' on the path; https://rust-lang.org/tools/install says how to get Rust" >&2
    exit 1
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
if ! command -v qemu-system-arm >/dev/null || ! command -v qemu-system-riscv32 >/dev/null; then
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        apt-get --quiet --quiet update &&
            apt-get --quiet --quiet install --yes --no-install-recommends qemu-system-arm qemu-system-misc ||
            echo "notice: QEMU could not be installed"
    else
        echo "notice: QEMU is missing; install 'qemu-system-arm' and 'qemu-system-riscv32' to run ci/bare_metal.sh"
    fi
fi
if ! command -v prometheus >/dev/null; then
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        apt-get --quiet --quiet update
        apt-get --quiet --quiet install --yes --no-install-recommends prometheus >/dev/null
    else
        echo "notice: Prometheus is missing; install 'prometheus' to have it scrape a bus in the tests"
    fi
fi
if ! command -v chromium >/dev/null; then
    if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
        apt-get --quiet --quiet update
        apt-get --quiet --quiet install --yes --no-install-recommends chromium >/dev/null
    else
        echo "notice: Chromium is missing; install 'chromium' to have it open the console's page in the tests"
    fi
fi
rustc --version
cargo --version
