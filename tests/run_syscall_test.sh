#!/bin/sh
# Runs one syscall test program in one way and judges it.
#   run_syscall_test.sh MODE PROGRAM RESULTS BULKHEAD [BULKHEAD-DO-ARGS…]
# MODE: native, sandboxed (its /tmp: the sentry's memory), ptrace (the same on that platform), one-core, overlay (on the host's tree, writes kept in the
# sandbox), writable (a host directory bound writable), native-rootless and rootless (as the user nobody).
# A native run leaves its outcomes in RESULTS. A sandboxed run passes only if every case that passed natively
# passes: a case that skips itself only in the sandbox is a failure, unless it skips as optional.
set -eu
mode=$1 program=$2 results=$3 bulkhead=$4
shift 4
name=${program##*/}
mkdir -p "$results" 2>/dev/null || :
status=0

# Files that cases find beside their directories: on an overlay those of the host below it.
below() {
  for i in 1 2 3 4; do
    head -c 16384 /dev/zero | tr '\0' b >"$1/below-$i"
  done
}

as_nobody() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
      --reset-env -- "$@"
  else
    "$@"
  fi
}

case $mode in
native | native-rootless)
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/bulkhead-native-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  chmod 1777 "$scratch"
  below "$scratch"
  if [ "$mode" = native ]; then
    TMPDIR=$scratch "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  else
    as_nobody env TMPDIR="$scratch" "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  fi
  cat "$results/$name.$mode"
  exit "$status"
  ;;
esac

[ -x "$bulkhead" ] || { echo "no $bulkhead: nothing to run the sandbox with"; exit 77; }
native=native
set -- "$@" --env BULKHEAD_TEST_SANDBOXED=1 --cwd /tmp
case $mode in
sandboxed)
  "$bulkhead" do "$@" -- "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  ;;
ptrace)
  "$bulkhead" do "$@" --env BULKHEAD_TEST_PLATFORM=ptrace --platform ptrace -- "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  ;;
one-core)
  taskset -c 0 "$bulkhead" do "$@" -- "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  ;;
overlay)
  [ "$(id -u)" = 0 ] || { echo "only root may write in /srv"; exit 77; }
  scratch=$(mktemp -d /srv/bulkhead-overlay-XXXXXX)
  trap 'rm -rf "$scratch"' EXIT
  chmod 1777 "$scratch"
  below "$scratch"
  "$bulkhead" do "$@" --env "TMPDIR=$scratch" -- "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  ;;
writable)
  scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/bulkhead-writable-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  chmod 1777 "$scratch"
  "$bulkhead" do "$@" --bind "$scratch:/mnt" --env TMPDIR=/mnt -- "$program" \
    >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  ;;
rootless)
  native=native-rootless
  as_nobody "$bulkhead" do "$@" -- "$program" >"$results/$name.$mode" 2>&1 </dev/null || status=$?
  ;;
*)
  echo "unknown mode $mode"
  exit 2
  ;;
esac
cat "$results/$name.$mode"
[ "$status" = 0 ] || echo "exit status $status"
sed -n 's/^ok //p' "$results/$name.$native" >"$results/$name.$mode.must"
while read -r test; do
  if ! grep -q -e "^ok $test\$" -e "^skip $test (optional)" "$results/$name.$mode"; then
    echo "NOT PASSED, passes natively: $test"
    status=1
  fi
done <"$results/$name.$mode.must"
exit "$status"
