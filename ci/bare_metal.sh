#!/usr/bin/env bash
# The core on boards without an operating system, run under QEMU: interrupts emit while the main loop polls.
#
# A target that rustup has installed is built with the toolchain at hand. For the others, Debian's 'rustc-web' and its
# 'rust-web-src', which has the sources of its 'core', are unpacked into a cache folder; nothing is installed. Where
# neither is to be had, the step is skipped with a notice, or fails if NERVEBUS_REQUIRE_BARE_METAL is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/bare-metal"

# Flags meant for another build would replace those in .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

# shellcheck source=ci/debian_compiler.sh
source ../debian_compiler.sh

targets=(thumbv7em-none-eabihf thumbv6m-none-eabi riscv32imac-unknown-none-elf)

skip() {
    if [[ -n ${NERVEBUS_REQUIRE_BARE_METAL:-} ]]; then
        printf 'error: %s, and NERVEBUS_REQUIRE_BARE_METAL is set\n' "$1" >&2
        exit 1
    fi
    printf 'notice: %s; SKIPPED: nothing was run on bare metal\n' "$1"
    exit 0
}

installed_by_rustup() {
    command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep --quiet --line-regexp "$1"
}

# Sets what cargo must know to build with the unpacked compiler.
use_debian_compiler() {
    local library linker each
    cargo=$(rustup which cargo 2>/dev/null || command -v cargo)
    linker=$(find "$(rustc --print sysroot)/lib/rustlib" -name rust-lld -path '*/bin/*' 2>/dev/null | head -n 1)
    linker=${linker:-$(command -v ld.lld || true)}
    [[ -n $linker ]] || skip "there is neither 'rust-lld' in the toolchain nor 'ld.lld' on the path"
    library=$(dirname "$(find "$debian/usr/lib" -name 'librustc_driver-*.so' | head -n 1)")
    with_debian=("LD_LIBRARY_PATH=$library" "RUSTC=$debian/usr/bin/rustc" RUSTC_BOOTSTRAP=1)
    for each in "${targets[@]}"; do
        with_debian+=("CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$each")_LINKER=$linker")
    done
    env "${with_debian[@]}" "$debian/usr/bin/rustc" --version
}

for emulator in qemu-system-arm qemu-system-riscv32; do
    command -v "$emulator" >/dev/null || skip "there is no '$emulator' on the path"
done

with_debian=()
for target in "${targets[@]}"; do
    printf '\n%s\n' "$target"
    if installed_by_rustup "$target"; then
        build=(cargo)
        flags=()
    else
        if [[ ${#with_debian[@]} -eq 0 ]]; then
            find_debian_compiler || skip "rustup has not installed '$target', and there is no Debian compiler to fetch"
            use_debian_compiler
        fi
        build=(env "${with_debian[@]}" "$cargo")
        flags=(-Zbuild-std=core)
    fi
    "${build[@]}" build --quiet --release --target "$target" "${flags[@]}"
    # The program ends by itself, with its own exit status; a hang is a failure like any other.
    timeout 120 "${build[@]}" run --quiet --release --target "$target" "${flags[@]}" </dev/null
done
