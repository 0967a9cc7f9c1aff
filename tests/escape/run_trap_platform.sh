#!/bin/bash
# Lets a guest loose on the trap platform, and looks at what is left on the host.
#   run_trap_platform.sh PROGRAM BULKHEAD
set -eu
program=$(realpath "$1") bulkhead=$(realpath "$2")
[ -x "$bulkhead" ] || { echo "no $bulkhead: nothing to run the sandbox with"; exit 77; }
failed=0
fail() { echo "FAIL: $*"; failed=1; }

output=$(mktemp /tmp/bulkhead-trap-XXXXXX)
trap 'rm -f "$output"' EXIT
status=0
timeout 550 "$bulkhead" do --platform trap --env BULKHEAD_TEST_SANDBOXED=1 --env CHECK_SECONDS=120 --cwd /tmp -- \
  "$program" >"$output" 2>&1 </dev/null || status=$?
cat "$output"
[ "$status" = 0 ] || fail "the sandbox ended with $status"
grep -q "^ok a_puppet_can_call" "$output" || fail "the attacks are blind: a well-behaved puppet does not get through"
exit "$failed"
