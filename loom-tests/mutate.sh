#!/usr/bin/env bash
# Weakens the memory orderings of the core to Relaxed, one at a time, and says which models notice.
#
#   loom-tests/mutate.sh                 all files of core/src that have orderings; about half an hour on 2 cores
#   loom-tests/mutate.sh ring gate       those whose path contains one of these words
#
# Works on a copy, so the tree stays as it is. Prints a table row for each ordering, with the models of the first file of
# tests/ that has any that fail; orderings that no model misses are named again at the end, and each must have its reason
# in a comment beside it or in README.md. Exit code 0 unless something could not be built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Builds are kept between runs, apart from those of the tree itself: cargo would take the two for one another.
export CARGO_TARGET_DIR=$here/target/mutate
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

cp "$root/Cargo.toml" "$copy/"
sed -i 's/^members = .*/members = ["core"]/' "$copy/Cargo.toml"
cp -r "$root/core" "$copy/core"
mkdir "$copy/loom-tests"
cp -r "$here"/{Cargo.toml,Cargo.lock,.cargo,src,tests} "$copy/loom-tests/"

# The models that run the code of a file; each name is a file of tests/.
models_of() {
    case $1 in
    ring.rs | ring/*) echo ring dead_letter wait ;;
    spsc.rs | spsc/*) echo spsc ;;
    # Its orderings are for arc-swap and Arc, into which loom does not see.
    snapshot/hosted.rs) ;;
    snapshot/* | table.rs) echo snapshot table dispatch ;;
    wait.rs) echo wait spsc ;;
    dead_letter.rs) echo dead_letter ;;
    gate.rs) echo gate ;;
    lease.rs) echo lease ;;
    schedule.rs) echo schedule ;;
    breaker.rs | breaker/*) echo breaker ;;
    *) ;;
    esac
}

# Prints 'line column word' for each ordering of a file that is code and not a test of the file's own.
orderings_of() {
    awk '/#\[cfg\(test\)\]/ { exit }
         /^ *\/\// { next }
         { rest = $0; column = 1
           while (match(rest, /Ordering::(AcqRel|Acquire|Release)/)) {
               print NR, column + RSTART - 1, substr(rest, RSTART, RLENGTH)
               column += RSTART + RLENGTH - 1; rest = substr(rest, RSTART + RLENGTH) } }' "$1"
}

# Runs the models of the words given and prints the names of those that fail, or 'error' if nothing could be built.
run_models() {
    local flags=() each output
    for each in "$@"; do
        [[ ! -f $copy/loom-tests/tests/$each.rs ]] || flags+=(--test "$each")
    done
    output=$(cd "$copy/loom-tests" && timeout 600 cargo test --release "${flags[@]}" 2>&1) && return
    if grep --quiet 'could not compile' <<<"$output"; then
        echo error
        return
    fi
    # A model that aborts or hangs takes the others of its file along, and is named by its file.
    { sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' <<<"$output"
        sed -n 's/^  process didn.t exit successfully: .*deps.\([a-z_]*\)-.*signal.*/\1 (aborted)/p' <<<"$output"; } |
        sort --unique | paste --serial --delimiters=',' | sed 's/,/, /g'
}

failures=$(run_models ring spsc snapshot table dispatch wait dead_letter gate lease schedule breaker)
if [[ -n $failures ]]; then
    echo "error: these models fail without any change: $failures" >&2
    exit 1
fi

echo "| ordering | code | models that notice |"
echo "|---|---|---|"
survivors=()
status=0
while read -r file; do
    name=${file#"$copy/core/src/"}
    models=$(models_of "$name")
    [[ -n $models ]] || continue
    wanted=${1:+no}
    for word in "$@"; do [[ $name != *"$word"* ]] || wanted=yes; done
    [[ $wanted != no ]] || continue
    while read -r line column word; do
        code=$(sed -n "${line}s/^ *//p" "$file" | sed 's/|/\\|/g')
        cp "$file" "$copy/original"
        sed -i "${line}s/^\(.\{$((column - 1))\}\)$word/\1Ordering::Relaxed/" "$file"
        # shellcheck disable=SC2086 # several words are several models
        noticed=$(run_models $models)
        cp "$copy/original" "$file"
        [[ $noticed != error ]] || status=1
        [[ -n $noticed ]] || survivors+=("$name:$line $code")
        printf '| `%s:%s` %s | `%s` | %s |\n' "$name" "$line" "${word#Ordering::}" "$code" "${noticed:-**none**}"
    done < <(orderings_of "$file")
done < <(find "$copy/core/src" -name '*.rs' | sort)

printf '\n%s orderings were weakened without any model noticing\n' "${#survivors[@]}"
for each in "${survivors[@]}"; do printf '  %s\n' "$each"; done
exit "$status"
