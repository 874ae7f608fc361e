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

targets=(thumbv7em-none-eabihf thumbv6m-none-eabi riscv32imac-unknown-none-elf)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nervebus/rustc-web

skip() {
    if [[ -n ${NERVEBUS_REQUIRE_BARE_METAL:-} ]]; then
        printf 'error: %s, and NERVEBUS_REQUIRE_BARE_METAL is set\n' "$1" >&2
        exit 1
    fi
    printf 'notice: %s; SKIPPED: nothing was run on bare metal\n' "$1"
    exit 0
}

is_root() { [[ $(id -u) -eq 0 ]]; }

installed_by_rustup() {
    command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep --quiet --line-regexp "$1"
}

# Sets 'version' to what apt offers; empty if nothing.
candidate() {
    version=$(apt-cache policy rustc-web 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [[ $version != "(none)" ]] || version=""
}

# The libraries of LLVM that this system lacks, one package a line.
missing_libraries() {
    local package
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        "$1" | grep '^[a-z]' | sort --unique | while read -r package; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null |
            grep --quiet '^installed' || echo "$package"
    done
}

# Downloads the compiler of this version and unpacks it into the folder; all or nothing.
unpack() {
    local version=$1 into=$2 release llvm packages
    release=$(sed 's/^\([0-9]*\.[0-9]*\).*/\1/' <<<"$version")
    llvm=$(apt-cache depends "libstd-rust-web-$release" | sed -n 's/^ *Depends: \(libllvm.*\)/\1/p')
    mapfile -t packages < <(missing_libraries "$llvm")
    rm -rf "$into.part" && mkdir -p "$into.part/debs" || return
    (
        cd "$into.part/debs" &&
            apt-get --quiet --quiet --option APT::Sandbox::User=root download "${packages[@]}" "rustc-web=$version" "libstd-rust-web-dev=$version" \
                "libstd-rust-web-$release=$version" "rust-web-src=$version"
    ) || return
    local package
    for package in "$into.part"/debs/*.deb; do
        dpkg --extract "$package" "$into.part/root" || return
    done
    rm -rf "$into.part/debs" "$into" && mv "$into.part" "$into"
}

# Sets 'debian' to the root of an unpacked compiler.
find_debian_compiler() {
    local version
    if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
        candidate
        # The lists may be missing, or older than what the mirror still has.
        if [[ -z $version || ! -d $cache/$version ]] && is_root; then
            apt-get --quiet --quiet update || echo "notice: 'apt-get update' failed; going on with the lists at hand"
            candidate
        fi
        if [[ -n $version && ! -d $cache/$version ]]; then
            echo "fetching Debian's rustc-web $version into $cache"
            unpack "$version" "$cache/$version" || echo "notice: that failed"
        fi
        debian=$cache/$version/root
        [[ -z $version || ! -d $debian ]] || return 0
    fi
    # Any that an earlier run has left, the newest first.
    debian=$(find "$cache" -mindepth 2 -maxdepth 2 -name root -not -path '*.part/*' 2>/dev/null | sort --version-sort | tail -n 1)
    [[ -n $debian ]]
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
