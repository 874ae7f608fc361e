#!/usr/bin/env bash
# A smoke run of the quickstart over its bundled events: the account must add up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=$(cargo run --release --example quickstart -- --json)
echo "$output"
if ! grep --quiet --extended-regexp '"ledger_balanced": *true' <<<"$output"; then
    echo "error: the quickstart did not report a balanced ledger" >&2
    exit 1
fi
if ! grep --quiet --extended-regexp '"emitted": *[1-9]' <<<"$output"; then
    echo "error: the quickstart emitted nothing" >&2
    exit 1
fi
