#!/bin/bash
# Sets up a host worth attacking, lets the hostile guest loose, and looks at the host afterwards.
#   run_hostile.sh HOSTILE BULKHEAD [BULKHEAD-DO-ARGS…]
set -eu
hostile=$(realpath "$1") bulkhead=$(realpath "$2")
shift 2
[ -x "$bulkhead" ] || { echo "no $bulkhead: nothing to run the sandbox with"; exit 77; }
failed=0
fail() { echo "FAIL: $*"; failed=1; }

# Hidden from a sandbox: /tmp. Shown, read-only: the current folder.
hidden=$(mktemp -d /tmp/bulkhead-hostile-XXXXXX)
shown=$(mktemp -d /var/tmp/bulkhead-hostile-XXXXXX)
chmod 755 "$hidden" "$shown"
cd "$shown"
marker=marker-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')
victim=
listener=
# shellcheck disable=SC2329 # called by the trap
cleanup() {
  [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || :
  [ -z "$listener" ] || kill -9 "$listener" 2>/dev/null || :
  cd /
  rm -rf "$hidden" "$shown"
}
trap cleanup EXIT

# Never as root: what runs natively is meant to do harm where it can.
as_nobody() {
  if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
      -- "$@"
  else
    exec "$@"
  fi
}

start_host() {
  echo "$marker" >"$hidden/secret"
  install -m 755 "$hostile" "$shown/hostile" # where nobody and the sandbox can reach it
  echo "untouched" >"$shown/canary"
  chmod 644 "$shown/canary"
  [ "$(id -u)" != 0 ] || chown -R 65534:65534 "$shown"
  as_nobody env -i "MARKER=$marker" bash -c "exec -a 'victim $marker' sleep 100000" & victim=$!
  : >"$hidden/connections"
  /usr/bin/python3 - "$marker" "$hidden" "$shown" <<'PYTHON' & listener=$!
import os, select, socket, sys
marker, hidden, shown = sys.argv[1:]
def listen(family, address):
    s = socket.socket(family)
    s.bind(address)
    s.listen()
    return s
tcp = listen(socket.AF_INET, ("127.0.0.1", 0))
sockets = {tcp: "tcp", listen(socket.AF_UNIX, "\0" + marker): "abstract",
           listen(socket.AF_UNIX, hidden + "/s"): "hidden", listen(socket.AF_UNIX, shown + "/s"): "shown"}
for path in (hidden, shown):
    os.chmod(path + "/s", 0o777)
with open(hidden + "/port.new", "w") as f:
    f.write(str(tcp.getsockname()[1]))
os.rename(hidden + "/port.new", hidden + "/port")
while True:
    for s in select.select(list(sockets), [], [])[0]:
        s.accept()[0].close()
        with open(hidden + "/connections", "a") as f:
            f.write(sockets[s] + "\n")
PYTHON
  disown "$victim" "$listener"
  until [ -s "$hidden/port" ]; do sleep 0.01; done
  until grep -q "victim $marker" "/proc/$victim/cmdline"; do sleep 0.01; done
  facts=("HOST_MARKER=$marker" "HOST_PID=$victim" "HOST_SECRET=$hidden/secret" "HOST_ABSTRACT=$marker"
    "HOST_SHOWN_SOCKET=$shown/s" "HOST_HIDDEN_SOCKET=$hidden/s" "HOST_PORT=$(cat "$hidden/port")"
    "HOST_CANARY=$shown/canary" "HOST_ADDRESS=$(sed -n 's/-.*\[stack\]$//p' "/proc/$victim/maps")")
}

stop_host() {
  kill -9 "$victim" "$listener" 2>/dev/null || :
  victim= listener=
  rm -rf "${hidden:?}"/* "${shown:?}"/*
}

# 1. Natively each of these must get through, or it proves nothing. Only these: the rest would harm a host.
start_host
reachable="host_processes_are_not_listed host_processes_cannot_be_signalled hidden_files_cannot_be_opened
  host_abstract_sockets_are_out_of_reach host_sockets_in_a_shown_folder_are_out_of_reach
  host_sockets_in_a_hidden_folder_are_out_of_reach host_ports_are_out_of_reach host_files_keep_their_content"
install -d -m 777 "$hidden/native"
for name in $reachable; do
  status=0
  (cd "$hidden/native" && as_nobody env "${facts[@]}" TMPDIR="$hidden/native" "$shown/hostile" --run "$name") \
    >"$hidden/native.out" 2>&1 </dev/null || status=$?
  [ "$status" = 101 ] || fail "natively, $name does not get through: the case is blind"
done
if [ "$(cat "$shown/canary" 2>/dev/null)" = untouched ]; then fail "natively, the canary is untouched"; fi
[ "$(sort -u "$hidden/connections" | wc -l)" = 4 ] || fail "natively, not every listener was reached"
stop_host

# 2. In the sandbox none may.
start_host
settings() { (cd /proc/sys/kernel && head -v core_pattern modprobe hostname ../vm/panic_on_oom) 2>&1; }
settings_before=$(settings) mounts_before=$(cat /proc/self/mounts) date_before=$(date +%s)
pass=()
for fact in "${facts[@]}"; do pass+=(--env "$fact"); done
status=0
timeout 550 "$bulkhead" do "$@" --env BULKHEAD_TEST_SANDBOXED=1 --env CHECK_SECONDS=300 "${pass[@]}" --cwd /tmp -- \
  "$shown/hostile" >"$hidden/sandboxed.out" 2>&1 </dev/null || status=$?
cat "$hidden/sandboxed.out"
[ "$status" = 0 ] || fail "the sandbox ended with $status"
grep -q "^ok the_last_case_still_runs" "$hidden/sandboxed.out" || fail "the sandbox did not live to the end"
if grep -q -a "$marker" "$hidden/sandboxed.out"; then fail "the secret is in the output"; fi
[ "$(cat "$hidden/secret")" = "$marker" ] || fail "the secret was changed"
[ "$(cat "$shown/canary")" = untouched ] || fail "the canary was changed"
[ "$(stat -c %a "$shown/canary")" = 644 ] || fail "the canary's mode was changed"
[ "$(cd "$shown" && echo *)" = "canary hostile s" ] || fail "files were made on the host: $(cd "$shown" && echo *)"
[ ! -s "$hidden/connections" ] || fail "the host's sockets were reached: $(sort -u "$hidden/connections")"
kill -0 "$victim" 2>/dev/null || fail "the host's process is gone"
[ "$(settings)" = "$settings_before" ] || fail "the host's kernel settings were changed: $(settings)"
[ "$(cat /proc/self/mounts)" = "$mounts_before" ] || fail "the host's mounts were changed"
[ $(($(date +%s) - date_before)) -lt 600 ] || fail "the host's clock was changed"
exit "$failed"
