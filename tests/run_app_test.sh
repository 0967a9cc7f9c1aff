#!/bin/sh
# Runs one application script in one way and judges it.
#   run_app_test.sh MODE SIZE SCRIPT RESULTS BULKHEAD [BULKHEAD-DO-ARGS…]
# MODE: native, sandboxed, native-rootless, rootless (as the user nobody). SIZE: short or full, for the script.
# A script prints nothing that may differ between two correct runs; its sandboxed output and exit status must be
# those of its native run, which comes first. Run in the folder that holds the script: `do` shows the sandbox that.
set -eu
mode=$1 size=$2 script=$(realpath "$3") results=$4 bulkhead=$5
shift 5
name=$(basename "$script")-$size
mkdir -p "$results"
chmod 1777 "$results"
case $script in
*.py) interpreter=/usr/bin/python3 ;;
*.pl) interpreter=/usr/bin/perl ;;
*busybox.sh) interpreter="/bin/busybox sh" ;;
*) interpreter=/bin/bash ;;
esac

as_nobody() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
      --reset-env -- "$@"
  else
    "$@"
  fi
}

# What the caller has left open would show in the descriptors' numbers.
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
status=0
case $mode in
native | native-rootless)
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/bulkhead-app-XXXXXX")
  trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  chmod 1777 "$scratch"
  run=env
  [ "$mode" = native ] || run="as_nobody env"
  # The environment is that of `bulkhead do`: short, and the same in both runs.
  # shellcheck disable=SC2086 # commands and their arguments
  $run -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/nonexistent LANG=C.UTF-8 \
    LC_ALL=C.UTF-8 TMPDIR="$scratch" APP_SIZE="$size" $interpreter "$script" >"$results/$name.$mode" \
    2>"$results/$name.$mode.err" </dev/null || status=$?
  cat "$results/$name.$mode" "$results/$name.$mode.err"
  [ "$status" = 0 ] || echo "exit status $status"
  exit "$status"
  ;;
sandboxed) native=native run= ;;
rootless) native=native-rootless run=as_nobody ;;
*) echo "unknown mode $mode"; exit 2 ;;
esac

[ -x "$bulkhead" ] || { echo "no $bulkhead: nothing to run the sandbox with"; exit 77; }
# shellcheck disable=SC2086
$run "$bulkhead" do "$@" --cwd /tmp --env HOME=/nonexistent --env LANG=C.UTF-8 --env LC_ALL=C.UTF-8 \
  --env TMPDIR=/tmp --env APP_SIZE="$size" -- $interpreter "$script" >"$results/$name.$mode" \
  2>"$results/$name.$mode.err" </dev/null || status=$?
cat "$results/$name.$mode.err"
case $name in
find_root*) # what it lists is the host's, which may have changed since the native run: a package was installed, say
  cmp -s "$results/$name.$native" "$results/$name.$mode" || "$0" "$native" "$size" "$script" "$results" "$bulkhead" >/dev/null ;;
esac
if ! diff -u "$results/$name.$native" "$results/$name.$mode"; then
  echo "the output is not the native one"
  status=1
fi
[ "$status" = 0 ] || echo "exit status $status"
exit "$status"
