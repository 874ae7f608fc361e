#!/usr/bin/env bash
# The proof that the core needs neither std nor an allocator: a static binary without either that links it and runs.
# The host's own std cannot hide a mistake here, because nothing in the binary could supply what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/no-std"

# Flags meant for another build would reach the build script as well.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
x86_64-*-linux-*) ;;
*)
    echo "notice: the binary starts and exits with x86-64 Linux system calls; on $host the core is only type checked"
    cargo check --lib --release
    exit 0
    ;;
esac

cargo build --release
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
binary=$target/release/nervebus-no-std

if command -v nm >/dev/null; then
    undefined=$(nm --undefined-only "$binary")
    if [[ -n $undefined ]]; then
        printf 'error: %s has undefined symbols:\n%s\n' "$binary" "$undefined" >&2
        exit 1
    fi
    # Mangled names carry the crate, in the new scheme (`Cs..._5alloc`) or the old one (`_ZN5alloc`, `$LT$alloc..`).
    # The allocator's own entry points are `__rust_alloc` and its kin.
    hosted=$(nm "$binary" | grep --extended-regexp \
        'C(s[A-Za-z0-9]*_)?(5alloc|3std)|_ZN(5alloc|3std)|(alloc|std)\.\.|__rust_(no_)?(de|re)?alloc| (malloc|free|realloc|calloc)$' || true)
    if [[ -n $hosted ]]; then
        printf 'error: %s carries symbols of alloc or std:\n%s\n' "$binary" "$hosted" >&2
        exit 1
    fi
    echo "symbols: none undefined, none of alloc or std"
else
    echo "notice: no 'nm' on the path, so the symbols are not looked at"
fi

status=0
"$binary" || status=$?
if [[ $status -ne 0 ]]; then
    echo "error: $binary ended with exit code $status; Step in ci/no-std/src/lib.rs says which check that is" >&2
    exit 1
fi
size=$(wc -c <"$binary")
echo "ran without std and without an allocator: exit code 0, $size bytes"
