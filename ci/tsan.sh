#!/usr/bin/env bash
# ThreadSanitizer over the tests that start threads: it watches real executions for two accesses that nothing orders.
#
# The standard library must be instrumented too, or its own synchronisation looks like none. That takes a compiler with
# the sources of its library (Debian's 'rustc-web', unpacked into a cache folder as 'ci/bare_metal.sh' does; nothing is
# installed) and a sanitizer runtime (the nightly toolchain's; both are built on the same LLVM). Where there is only a
# nightly toolchain, its library stays as it is and ci/tsan.supp hides what that brings. Where there is neither, the step
# is skipped with a notice, or fails if NERVEBUS_REQUIRE_TSAN is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Flags meant for another build would come on top of ours.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

# shellcheck source=ci/debian_compiler.sh
source ci/debian_compiler.sh

target=x86_64-unknown-linux-gnu
core_tests=(ring spsc stress wait dead_letter gate table snapshot)
bus_tests=(ledger combination concurrency park worker_pool)

skip() {
    if [[ -n ${NERVEBUS_REQUIRE_TSAN:-} ]]; then
        printf 'error: %s, and NERVEBUS_REQUIRE_TSAN is set\n' "$1" >&2
        exit 1
    fi
    printf 'notice: %s; SKIPPED: no data race was looked for\n' "$1"
    exit 0
}

# Lends the nightly toolchain's runtime to Debian's compiler, in a sysroot of links beside it, and sets what cargo must
# know. The unpacked compiler itself is left as it is.
use_debian_compiler() {
    local sysroot=$debian/../tsan library
    library=$(dirname "$(find "$debian/usr/lib" -name 'librustc_driver-*.so' | head -n 1)")
    rm -rf "$sysroot" && mkdir -p "$sysroot/lib/rustlib/$target/lib" || return
    ln -s "$debian/usr/lib/rustlib/src" "$sysroot/lib/rustlib/src"
    ln -s "$debian/usr/lib/rustlib/$target/lib"/* "$sysroot/lib/rustlib/$target/lib/"
    ln -s "$runtime" "$sysroot/lib/rustlib/$target/lib/librustc-stable_rt.tsan.a"
    export LD_LIBRARY_PATH=$library RUSTC=$debian/usr/bin/rustc RUSTC_BOOTSTRAP=1
    export RUSTFLAGS="-Zsanitizer=thread --sysroot=$(realpath "$sysroot")"
    cargo=$(rustup which --toolchain stable cargo 2>/dev/null || command -v cargo)
    flags=(-Zbuild-std)
}

[[ $(uname -sm) == "Linux x86_64" ]] || skip "ThreadSanitizer is set up for $target only"
command -v rustup >/dev/null && nightly=$(rustc +nightly --print sysroot 2>/dev/null) || skip "there is no nightly toolchain"
runtime=$nightly/lib/rustlib/$target/lib/librustc-nightly_rt.tsan.a
[[ -e $runtime ]] || skip "the nightly toolchain has no runtime of ThreadSanitizer"

if find_debian_compiler; then
    use_debian_compiler
else
    echo "notice: there is no compiler with the sources of its library; the library is not instrumented"
    export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
    cargo=$(rustup which --toolchain nightly cargo)
    export RUSTC=$nightly/bin/rustc
    flags=()
fi
"$RUSTC" --version

# 'halt_on_error' makes the first report fail its test program.
export TSAN_OPTIONS="halt_on_error=1 suppressions=$PWD/ci/tsan.supp ${TSAN_OPTIONS:-}"
# A target folder of its own: the flags would throw away what other builds have.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tsan
# Interleavings, not speed: and link-time optimisation of an instrumented library takes minutes.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

"$cargo" test --release "${flags[@]}" --target "$target" --package nervebus-core --features std "${core_tests[@]/#/--test=}"
"$cargo" test --release "${flags[@]}" --target "$target" --package nervebus "${bus_tests[@]/#/--test=}"
