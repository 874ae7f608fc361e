#!/usr/bin/env bash
# The optimised build of the workspace, benches and peers included. Nothing is timed here: shared machines are noisy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo bench --workspace --no-run
