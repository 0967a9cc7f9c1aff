#!/bin/bash
# CPython's own test suite, module by module: one line each, "MODULE passed|failed|skipped|timed out".
# PYTHON_MODULES: only these. PYTHON_TIMEOUT: seconds for each, where the machine is busy. PYTHON_LOGS: a folder for
# what failed.
set -uo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work PYTHONDONTWRITEBYTECODE=1
modules=(test_os test_signal test_socket test_threading test_subprocess test_select test_mmap test_fcntl test_io)
if [[ ${APP_SIZE:-short} == full ]]; then
  # test.support's own list, without what asks for a display or the network (their resources are off by default).
  mapfile -t modules < <(python3 -m test --list-tests)
fi
[[ -z ${PYTHON_MODULES:-} ]] || read -ra modules <<<"$PYTHON_MODULES"
limit=${PYTHON_TIMEOUT:-240}
run_module() {
  local module=$1
  timeout -k 5 "$limit" python3 -m test -w --timeout $((limit - 40)) "$module" >"log.$module" 2>&1 </dev/null
  case $? in
  0) if grep -q -E '^(1 test|All 1 test) skipped|skipped:$' "log.$module"; then echo "$module skipped"; else echo "$module passed"; fi ;;
  124 | 137) echo "$module timed out" ;;
  4) echo "$module skipped" ;;
  *)
    echo "$module failed"
    grep -E '^(ERROR|FAIL):' "log.$module" | sort -u | head -20 | sed "s/^/  $module: /" >&2
    [[ -z ${PYTHON_LOGS:-} ]] || cp "log.$module" "$PYTHON_LOGS/"
    ;;
  esac
}
# Two at once, since many wait more than they compute; each in a directory of its own.
running=0
for module in "${modules[@]}"; do
  if ((running == 2)); then
    wait -n
    running=1
  fi
  mkdir "$module"
  (cd "$module" && run_module "$module" >../"verdict.$module") &
  running=$((running + 1))
done
wait
for module in "${modules[@]}"; do cat "verdict.$module"; done
