#!/usr/bin/env bash
# The one test command that the README gives to a newcomer, to the letter; then what is behind a feature.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

test_command="cargo test --workspace"

# On a line of its own or quoted in a sentence, but not as the beginning of a longer command.
if ! grep --quiet --extended-regexp "(^|[\`\$ ])$test_command(\`|[[:space:]]+#|$)" README.md; then
    echo "error: README.md does not give the test command '$test_command'" >&2
    exit 1
fi
echo "\$ $test_command"
$test_command

cargo test --package nervebus --features affinity --test worker
cargo test --package nervebus-cli --features durable --test replay

# What says something else when a feature is on; the rest was run above. A crash round takes seconds.
with_features=(
    aggregate
    audit_faults
    audit_log
    cloud_event
    console
    console_browser
    context
    correlation_layer
    durable
    durable_crash
    durable_subscription
    headers
    history
    http
    log_path
    metrics
    outbox
    projection
    reader
    reader_follow
    redact_options
    replay
    saga
    saga_crash
    schema
    scope
    topology
    trace_context
    typed_command
    typed_topic
    validation
    verify
)
NERVEBUS_CRASH_ROUNDS="${NERVEBUS_CRASH_ROUNDS:-4}" \
    cargo test --package nervebus --all-features --lib "${with_features[@]/#/--test=}"

cargo test --package nervebus-examples --features http-service --test http_service
cargo test --package nervebus-examples --features console --test console
for example in aggregate outbox projection saga; do
    cargo run --package nervebus-examples --features patterns --example "$example"
done
