#!/usr/bin/env bash
# Counts the instructions of the hot paths (benches/instructions/) under callgrind and compares them with the recorded
# ones, which do not change from run to run or with the machine's load. `--record` rewrites the record.
# Fails when a path takes over 5 % and over 2 instructions more than recorded. With another compiler than the recorded
# one, differences are shown and nothing fails. Without valgrind, or on another processor than x86-64, there is nothing
# to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

record=benches/instructions/counts.txt
if [[ $(uname -sm) != "Linux x86_64" ]]; then
    echo "instructions are counted on x86-64 Linux only; this is $(uname -sm): skipped"
    exit 0
fi
if ! command -v valgrind >/dev/null && [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    apt-get update && apt-get install --yes --no-install-recommends valgrind || true
fi
if ! command -v valgrind >/dev/null; then
    echo "there is no 'valgrind' on the path: instructions are not counted"
    exit 0
fi

# For the default target: callgrind does not know every instruction of the newest processors, so no `target-cpu` here.
cargo build --profile bench --package nervebus-benches --bin instructions
program=${CARGO_TARGET_DIR:-target}/release/instructions
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# A pattern says where to count, but callgrind takes only whole names for where to write a dump.
mapfile -t dumps < <(sed -n 's/^fn \(measured_[a-z0-9_]*\).*/--dump-after=instructions::\1/p' benches/instructions/main.rs)
if ! valgrind --tool=callgrind --callgrind-out-file="$folder/dump" --toggle-collect='*measured_*' "${dumps[@]}" \
    "$program" >"$folder/names" 2>"$folder/log"; then
    cat "$folder/log" >&2
    exit 1
fi

# Three dumps a path, `dump.1` onwards: warm-up, 1,000 operations, 2,000 operations.
mapfile -t names <"$folder/names"
total() { awk '/^totals:/ { print $2 }' "$folder/dump.$1"; }
if [[ ! -e $folder/dump.$((3 * ${#names[@]})) || -e $folder/dump.$((3 * ${#names[@]} + 1)) ]]; then
    echo "error: ${#names[@]} paths must give $((3 * ${#names[@]})) dumps, and gave $(find "$folder" -name 'dump.*' | wc -l);" \
        "was a measured function inlined, or something inside it not?" >&2
    exit 1
fi
for index in "${!names[@]}"; do
    few=$(total $((3 * index + 2)))
    many=$(total $((3 * index + 3)))
    awk -v name="${names[index]}" -v spent=$((many - few)) 'BEGIN { printf "%s %.1f\n", name, spent / 1000 }'
done >"$folder/counts"

compiler=$(rustc --version)
if [[ ${1:-} == --record ]]; then
    {
        echo "# Instructions an operation, as ci/instructions.sh counts them (--record rewrites this file)."
        echo "# $compiler"
        cat "$folder/counts"
    } >"$record"
fi

recorded=$(sed -n '2s/^# //p' "$record")
same=1
[[ $compiler == "$recorded" ]] || same=0
[[ $same -eq 1 ]] || echo "recorded with $recorded, counted with $compiler: differences are shown, none is an error"
awk -v same="$same" '
    /^#/ { next }
    FNR == NR { before[$1] = $2; next }
    {
        seen[$1] = 1
        if (!($1 in before)) { verdict = "not recorded"; missing++ }
        else if ($2 > before[$1] * 1.05 && $2 > before[$1] + 2) { verdict = "MORE"; worse++ }
        else if ($2 < before[$1] * 0.95 && $2 < before[$1] - 2) verdict = "less: worth recording"
        else verdict = ""
        printf "%-28s %8.1f  recorded %8s  %s\n", $1, $2, ($1 in before) ? before[$1] : "-", verdict
    }
    END {
        for (name in before) if (!(name in seen)) { printf "%-28s is recorded and was not counted\n", name; missing++ }
        if (same && worse + missing) {
            print "error: " worse + 0 " paths take more instructions, " missing + 0 " do not match the record; " \
                "ci/instructions.sh --record accepts it" > "/dev/stderr"
            exit 1
        }
    }' "$record" "$folder/counts"
