# Sourced by scripts that need a compiler with the sources of its standard library: finds Debian's 'rustc-web' and its
# 'rust-web-src' in a cache folder, or unpacks them there. Nothing is installed.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/nervebus/rustc-web

is_root() { [[ $(id -u) -eq 0 ]]; }

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
