#!/bin/sh
# Random calls: the sandbox serves them, and ends as its program does.
#   run_random_calls.sh PROGRAM COUNT SEEDS BULKHEAD [BULKHEAD-DO-ARGS...]
# COUNT calls for each seed from 1 to SEEDS. What the guest writes is as random as the rest, and thrown away.
set -eu
program=$1 count=$2 seeds=$3 bulkhead=$4
shift 4
log=$(mktemp)
trap 'rm -f "$log"' EXIT
seed=1
while [ "$seed" -le "$seeds" ]; do
  status=0
  timeout -s KILL 120 "$bulkhead" do "$@" --env BULKHEAD_TEST_SANDBOXED=1 --log "$log" -- \
    "$program" "$count" "$seed" </dev/null >/dev/null 2>&1 || status=$?
  if [ "$status" != 0 ]; then
    echo "FAIL: $count calls, seed $seed: exit status $status"
    tail -n 3 "$log"
    exit 1
  fi
  seed=$((seed + 1))
done
echo "$((count * seeds)) random calls"
