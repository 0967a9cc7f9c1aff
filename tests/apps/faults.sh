#!/bin/bash
# Bad input and faults: the exit status says what failed, the message says what to do, and nothing is left behind.
#   faults.sh PART BULKHEAD [BULKHEAD-DO-ARGS…]
# PART: status, config, limits, caller, killed, runs (a few in a row), thousand-runs.
# As root the part runs in a pid and a mount namespace of its own, so that what is left behind is ours.
set -u
part=$1 bulkhead=$(realpath "$2")
shift 2
do_args=("$@")
[ -x "$bulkhead" ] || { echo "no $bulkhead: nothing to run the sandbox with"; exit 77; }
if [ "$(id -u)" = 0 ] && [ -z "${FAULTS_INSIDE:-}" ]; then
  FAULTS_INSIDE=1 exec unshare --pid --fork --mount --mount-proc --kill-child -- "$0" "$part" "$bulkhead" "$@"
fi

work=$(mktemp -d /tmp/faults-XXXXXX)
mkdir "$work/shown" && cd "$work/shown" || exit 1
failed=0
fail() {
  echo "FAIL: $*"
  [ ! -s "$work/err" ] || sed 's/^/    /' "$work/err" | head -20
  failed=1
}
# shellcheck disable=SC2329 # called by the trap
cleanup() {
  umount "$work/small" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT

# Everything that a sandbox could leave: processes, mounts, cgroups, files.
leftovers() {
  local proc name
  for proc in /proc/[0-9]*; do
    { read -r name <"$proc/comm"; } 2>/dev/null || continue
    case $name in bulkhead* | *stub*) echo "process $name" ;; esac
  done
  cut -d' ' -f2,3 /proc/self/mounts | grep -v "$work"
  find /sys/fs/cgroup -type d -name '*bulkhead*' -path "*-$$-*" 2>/dev/null
  ls -d /tmp/bulkhead* /run/bulkhead/* /dev/shm/*bulkhead* /var/tmp/*bulkhead* 2>/dev/null
  find / -maxdepth 1 -name '*bulkhead*' 2>/dev/null
  true
}
before=$(leftovers)
expect_clean() {
  local after i
  for i in $(seq 100); do
    after=$(leftovers)
    [ "$after" != "$before" ] || return 0
    sleep 0.05 # the kernel tears a dead process down in its own time
  done
  fail "$1: left behind: $(diff <(echo "$before") <(echo "$after") | grep '^[<>]' | tr '\n' ';')"
}

# expect STATUS PATTERN WHAT ARGS…: runs `bulkhead do ARGS`; the status must be STATUS, and standard error match.
expect() {
  local status=0 want=$1 pattern=$2 what=$3
  shift 3
  timeout 60 "$bulkhead" do "${do_args[@]}" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" = "$want" ] || fail "$what: status $status, expected $want"
  if [ -n "$pattern" ]; then
    grep -q -i -E -- "$pattern" "$work/err" || fail "$what: the message does not say \"$pattern\""
  fi
  expect_clean "$what"
}

elf() { # elf MACHINE: an ELF header and nothing else
  printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0%b\1\0\0\0' "$1"
  head -c 40 /dev/zero
}

part_status() {
  expect 0 '' 'success' -- /bin/true
  expect 42 '' 'its own status' -- /bin/sh -c 'exit 42'
  expect 143 '' 'SIGTERM' -- /bin/sh -c 'kill -TERM $$'
  expect 137 '' 'SIGKILL' -- /bin/sh -c 'kill -KILL $$'
  expect 134 '' 'abort' -- /bin/bash -c 'kill -ABRT $$'
  expect 139 '' 'segmentation fault' -- /bin/bash -c 'kill -SEGV $$'
  expect 127 'not found|no such' 'a missing program' -- no-such-program
  expect 127 'not found|no such' 'a missing path' -- /no/such/program
  expect 126 'denied|not executable|directory' 'a directory' -- /etc
  expect 126 'denied|not executable|permission' 'a file that is not executable' -- /etc/passwd
  elf '\267\0' >arm && chmod +x arm
  expect 126 'another processor; only x86-64' 'another architecture' -- ./arm
  { printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0\1\0\0\0' && head -c 40 /dev/zero; } >i386 && chmod +x i386
  expect 126 '32-bit program; only x86-64' 'a 32-bit program' -- ./i386
  head -c 200 /bin/true >cut && chmod +x cut
  expect 126 'damaged' 'a truncated ELF file' -- ./cut
  : >empty && chmod +x empty
  expect 126 'the file is empty' 'an empty file' -- ./empty
  echo text >text && chmod +x text
  expect 126 'neither an ELF program nor a script' 'a text without a #! line' -- ./text
  printf '#!/no/such/interpreter\n' >script && chmod +x script
  expect 126 'script: its interpreter /no/such/interpreter: no such file' 'a missing interpreter' -- ./script
  sed 's|/lib64/ld-linux-x86-64.so.2|/lib64/ld-linux-x86-64.so.0|' /bin/true >noloader && chmod +x noloader
  expect 126 'its interpreter /lib64/ld-linux-x86-64.so.0: no such file' 'a missing loader' -- ./noloader
  printf '#!\n' >script2 && chmod +x script2
  expect 126 'names no interpreter' 'an empty interpreter line' -- ./script2
  expect 125 'no-such-option' 'an unknown option' --no-such-option -- /bin/true
  expect 125 '' 'no program'
  expect 125 '--memory: "lots" is not a size' 'nonsense for --memory' --memory lots -- /bin/true
  expect 125 '--memory: 1K is too little' 'a limit that nothing fits in' --memory 1K -- /bin/true
  expect 125 'name is empty' 'an empty program' -- ''
  expect 125 '--memory: give a value, SIZE' 'an option without its value' --memory
  expect 125 '--pids: given more than once' 'an option twice' --pids 5 --pids 6 -- /bin/true
  expect 125 'no/such' 'a root that is not there' --root /no/such -- /bin/true
  expect 125 'no/such' 'a bind that is not there' --bind /no/such:/mnt -- /bin/true
  : >"$work/file"
  expect 125 'file .*/file on the directory /etc' 'a file bound to a directory' --bind "$work/file:/etc" -- /bin/true
  expect 125 'directory .* on /etc/passwd' 'a directory bound to a file' --bind "$work:/etc/passwd" -- /bin/true
  expect 125 '--root DIR' 'a bind over the root' --bind "$work:/" -- /bin/true
  expect 125 '/proc/no-such: it is not there, and cannot be made' 'a bind below /proc' --bind "$work:/proc/no-such" -- \
    /bin/true
  expect 125 'no-such-platform.*trap, ptrace' 'an unknown platform' --platform no-such-platform -- /bin/true
  # Nothing is made on the host's tree to mount on, and nothing that was to stay is lost silently.
  mkdir "$work/tree"
  expect 125 '/mnt/new is not there' 'a mount point that would have to be made' --bind "$work/tree:/mnt" \
    --bind "$work/shown:/mnt/new" -- /bin/true
  [ -z "$(ls "$work/tree")" ] || fail "a mount point was left on the host's tree"
  expect 125 'is not there' 'a mount point on a writable tree' --writable --bind "$work/tree:/no-such-place/x" -- /bin/true
  [ ! -e /no-such-place ] || fail "a mount point was left on the host's root"
  expect 0 '' 'a mount point in the memory of the sandbox' --writable --bind "$work/tree:/tmp/x/y" -- \
    /bin/sh -c ': >/tmp/x/y/file'
  [ -e "$work/tree/file" ] || fail "a bind below /tmp is not there"
  expect 0 '' 'homes under --writable' --writable -- /bin/sh -c '! touch "$HOME/lost"'
  expect 124 'time|timeout' 'the time limit' --timeout 1 -- /bin/sleep 100
  status=0
  "$bulkhead" do "${do_args[@]}" -- /bin/sh -c 'echo out; echo err >&2' >out 2>err || status=$?
  [ "$status $(cat out) $(cat err)" = "0 out err" ] || fail "standard streams: $status $(cat out err)"
  # Streams that are closed, or whose reader goes away.
  "$bulkhead" do "${do_args[@]}" -- /bin/true <&- >&- 2>&- || fail "closed streams: $?"
  expect_clean "closed streams"
  "$bulkhead" do "${do_args[@]}" -- /bin/sh -c 'yes; exit 0' 2>/dev/null | head -n 1 >/dev/null
  expect_clean "a reader that goes away"
  # Signals reach the program.
  for signal in INT TERM HUP; do
    mkfifo "pipe$signal"
    # A shell without job control has its background commands ignore SIGINT.
    env --default-signal="$signal" "$bulkhead" do "${do_args[@]}" -- /bin/bash -c \
      "trap 'echo got $signal; exit 9' $signal; echo ready; while :; do sleep 0.1; done" >"pipe$signal" 2>"$work/err" &
    pid=$!
    line=
    { read -r -t 60 line && [ "$line" = ready ] && kill -"$signal" "$pid" && read -r -t 60 line; } <"pipe$signal"
    [ "$line" = "got $signal" ] || kill -9 "$pid"
    wait "$pid"
    [ "$? $line" = "9 got $signal" ] || fail "SIG$signal did not reach the program ($line)"
    expect_clean "SIG$signal"
  done
  # The description that it inherits keeps its flags.
  /usr/bin/python3 - "$bulkhead" "${do_args[@]}" <<'PYTHON' || fail "flags of inherited descriptors"
import fcntl, os, subprocess, sys
for flags in (0, os.O_NONBLOCK):
    pairs = [os.pipe() for _ in range(3)]
    for pair in pairs:
        for fd in pair:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    before = [fcntl.fcntl(fd, fcntl.F_GETFL) for pair in pairs for fd in pair]
    subprocess.run([sys.argv[1], "do", *sys.argv[2:], "--", "/bin/sh", "-c", "echo out; echo err >&2"],
                   stdin=pairs[0][0], stdout=pairs[1][1], stderr=pairs[2][1], check=True, timeout=60)
    assert before == [fcntl.fcntl(fd, fcntl.F_GETFL) for pair in pairs for fd in pair]
    assert os.read(pairs[1][0], 10) == b"out\n"
PYTHON
  # A host without user namespaces, as far as this process goes.
  if unshare --user --map-root-user true 2>/dev/null; then
    unshare --user --map-root-user -- /bin/sh -c \
      'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"' sh "$bulkhead" do "${do_args[@]}" -- /bin/true \
      >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [ "$status" = 125 ] || fail "no user namespaces: status $status, expected 125"
    grep -q -i 'namespace' "$work/err" || fail "no user namespaces: the message does not say so"
    expect_clean "no user namespaces"
  fi
}

# refused NAME PATTERN JSON: `bulkhead run` must refuse this config.json with 125 and say where.
refused() {
  local status=0
  mkdir -p bundle/rootfs
  printf '%s' "$3" >bundle/config.json
  timeout 60 "$bulkhead" run --root "$work/state" --bundle bundle box >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" = 125 ] || fail "$1: status $status, expected 125"
  grep -q -E -- "$2" "$work/err" || fail "$1: the message does not say \"$2\""
  expect_clean "$1"
}

part_config() {
  refused 'no JSON' 'config.json' 'this is not JSON'
  refused 'cut JSON' 'config.json' '{"ociVersion": "1.0.2", "process": {'
  refused 'no object' 'config.json' '[]'
  refused 'no version' 'ociVersion' '{"root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"}}'
  refused 'a version of the future' 'ociVersion' \
    '{"ociVersion": "9.0.0", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"}}'
  refused 'args of another type' 'process.*args' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": "true", "cwd": "/"}}'
  refused 'a number in args' 'process.*args.*1' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["true", 5], "cwd": "/"}}'
  refused 'no args' 'args' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": [], "cwd": "/"}}'
  refused 'a relative cwd' 'cwd' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "here"}}'
  refused 'a root that is not there' 'root.*path|nowhere' \
    '{"ociVersion": "1.0.2", "root": {"path": "nowhere"}, "process": {"args": ["/bin/true"], "cwd": "/"}}'
  refused 'a mount without a destination' 'mounts.*0' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"},
      "mounts": [{"type": "tmpfs"}]}'
  refused 'an rlimit of no kind' 'rlimits.*0' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/",
      "rlimits": [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]}}'
  refused 'a soft limit above the hard one' 'rlimits.*0' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/",
      "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1}]}}'
  refused 'a negative uid' 'uid' \
    '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/",
      "user": {"uid": -1, "gid": 0}}}'
  # The state directory cannot be written: it is a file.
  : >"$work/file"
  printf '{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["/bin/true"], "cwd": "/"}}' \
    >bundle/config.json
  status=0
  timeout 60 "$bulkhead" run --root "$work/file/state" --bundle bundle box >"$work/out" 2>"$work/err" </dev/null ||
    status=$?
  [ "$status" = 125 ] || fail "unwritable state: status $status, expected 125"
  grep -q "file/state" "$work/err" || fail "unwritable state: the message does not name it"
  # A root without the program.
  status=0
  timeout 60 "$bulkhead" run --root "$work/state" --bundle bundle box >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" = 127 ] || fail "an empty root: status $status, expected 127"
  expect_clean "an empty root"
}

part_limits() {
  # Memory: the program dies with 137, the host does not notice.
  expect 137 'memory' 'the memory limit' --memory 100M -- /usr/bin/perl -e '$x .= "x" x 1000000 while 1'
  expect 0 '' 'below the memory limit' --memory 200M -- /usr/bin/perl -e '$x = "x" x 20000000'
  expect 137 'memory' 'the memory limit by files' --memory 100M -- /bin/sh -c 'cat /dev/zero >/tmp/file; kill -9 $$'
  # A fork bomb: EAGAIN inside, and a sandbox that can be stopped.
  cat >bomb.pl <<'PERL'
$| = 1;
$SIG{TERM} = 'IGNORE';
my $told = 0;
while (1) {
  my $pid = fork;
  if (!defined $pid) {
    print "EAGAIN\n" if $!{EAGAIN} && !$told++;
    select undef, undef, undef, 0.01;
  }
}
PERL
  for signal in KILL HUP; do
    mkfifo "bomb$signal"
    "$bulkhead" do "${do_args[@]}" --pids 40 -- /usr/bin/perl bomb.pl >"bomb$signal" 2>"$work/err" </dev/null &
    pid=$!
    line=
    read -r -t 60 line <"bomb$signal" || :
    [ "$line" = EAGAIN ] || fail "the fork bomb was not told EAGAIN ($line)"
    start=$(date +%s%N)
    kill -"$signal" "$pid"
    wait "$pid"
    (($(date +%s%N) - start < 3000000000)) || fail "the fork bomb was not stopped at once"
    expect_clean "the fork bomb (SIG$signal)"
  done
  # A full disk under --writable.
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$work/small"
    mount -t tmpfs -o size=4M tmpfs "$work/small"
    mkdir "$work/small/bin"
    cp /bin/busybox "$work/small/bin/busybox"
    before=$(leftovers)
    expect 1 'no space left' 'a full disk' --writable --bind "$work/small:/mnt" -- \
      /bin/dd if=/dev/zero of=/mnt/file bs=64k count=100 status=none
    # The space of a removed file is there again at once, though this sandbox had it open a moment ago.
    rm -f "$work/small/file"
    for tree in --bind="$work/small:/mnt" --root="$work/small"; do
      expect 0 '' "space of a removed file ($tree)" --writable "$tree" -- /bin/busybox sh -c '
        cd /mnt 2>/dev/null || cd /
        for round in 1 2 3; do
          /bin/busybox dd if=/dev/zero of=file bs=64k 2>/dev/null && exit 3 # it must run full
          /bin/busybox rm file
        done
        exec /bin/busybox dd if=/dev/zero of=file bs=64k count=4 2>/dev/null'
      rm -f "$work/small/file"
    done
    umount "$work/small"
    before=$(leftovers)
  fi
}

# expect_limited ULIMIT-ARGS STATUS PATTERN WHAT ARGS…: the same under limits that the caller may not raise.
expect_limited() {
  local limits=$1 status=0 want=$2 pattern=$3 what=$4
  local bound=()
  shift 4
  [ "$(id -u)" != 0 ] || bound=(setpriv --bounding-set=-sys_resource --)
  # shellcheck disable=SC2016 # the inner shell's
  "${bound[@]}" bash -c 'limits=$1 && shift && ulimit $limits && exec timeout 60 "$@"' bash "$limits" \
    "$bulkhead" do "${do_args[@]}" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" = "$want" ] || fail "$what: status $status, expected $want"
  [ -z "$pattern" ] || grep -q -E -- "$pattern" "$work/out" "$work/err" || fail "$what: \"$pattern\" is not there"
  expect_clean "$what"
}

# What the caller brings along: limits, ids, signals that it ignores, a directory that is gone.
part_caller() {
  # Soft limits are the guest's alone; the sandbox needs more and takes it.
  expect_limited '-S -f 100' 0 '^100$' 'a file size limit' -- /bin/bash -c 'ulimit -f'
  expect_limited '-S -f 1' 0 '^153$' 'a file size limit that is reached' -- \
    /bin/bash -c 'head -c 5000 /dev/zero >/tmp/file; echo $?'
  expect_limited '-S -n 20' 0 '^20$' 'few descriptors' -- /bin/bash -c 'ulimit -n'
  expect_limited '-S -v 1000000' 0 '^1000000$' 'little address space' -- /bin/bash -c 'ulimit -v'
  expect_limited '-S -d 10000' 0 '^10000$' 'little data' -- /bin/bash -c 'ulimit -d'
  expect_limited '-S -s 200' 0 '^200$' 'a small stack' -- /bin/bash -c 'ulimit -s'
  expect_limited '-S -t 1' 152 '' 'little processor time' -- /bin/sh -c 'while :; do :; done'
  # Hard ones, too, as long as there is room for a sandbox.
  expect_limited '-n 256' 0 '^256$' 'a hard limit on descriptors' -- /bin/bash -c 'ulimit -H -n'
  expect_limited '-f 100' 125 'file size \(ulimit -f\) is 100; .*unlimited' 'a hard file size limit' -- /bin/true
  expect_limited '-n 64' 125 'open files \(ulimit -n\) is 64; .*128' 'too few descriptors' -- /bin/true
  expect_limited '-v 1000000' 125 'address space \(ulimit -v\) is 1000000; .*4194304' 'no address space' -- /bin/true
  expect_limited '-d 5000' 125 'data \(ulimit -d\) is 5000; .*16384' 'no data' -- /bin/true
  expect_limited '-s 64' 125 'stack \(ulimit -s\) is 64; .*256' 'no stack' -- /bin/true
  # Root of a user namespace that has one user, and no setgroups(2).
  status=0
  unshare --user --map-root-user -- "$bulkhead" do "${do_args[@]}" -- /usr/bin/id -u >"$work/out" 2>"$work/err" \
    </dev/null || status=$?
  [ "$status $(cat "$work/out")" = '0 0' ] || fail "in a user namespace of one user: status $status"
  unshare --user --map-root-user -- "$bulkhead" check >"$work/out" 2>"$work/err" || fail "check does not agree"
  grep -q "^missing *id mapping .*this user's id only" "$work/out" || fail "check: ids in a user namespace of one user"
  # What it ignores, the program ignores; what it does not, ends it.
  status=0
  (trap '' HUP USR1 && exec "$bulkhead" do "${do_args[@]}" -- /bin/sh -c \
    'kill -HUP $$; kill -USR1 $$; grep SigIgn /proc/self/status; kill -USR2 $$; echo no') >"$work/out" 2>"$work/err" \
    </dev/null || status=$?
  [ "$status" = $((128 + 12)) ] || fail "ignored signals: status $status"
  [ "$(cat "$work/out")" = "$(printf 'SigIgn:\t0000000000000201')" ] || fail "ignored signals: $(cat "$work/out")"
  # A signal that the caller ignores reaches a program that wants it.
  mkfifo wanted
  (trap '' HUP && exec "$bulkhead" do "${do_args[@]}" -- /usr/bin/perl -e \
    '$| = 1; $SIG{HUP} = sub { print "got it\n"; exit 9 }; print "ready\n"; sleep 1 while 1') >wanted 2>"$work/err" &
  pid=$!
  line=
  { read -r -t 60 line && [ "$line" = ready ] && kill -HUP "$pid" && read -r -t 60 line; } <wanted
  [ "$line" = 'got it' ] || kill -9 "$pid"
  wait "$pid"
  [ "$? $line" = '9 got it' ] || fail "an ignored signal did not reach the program that wants it ($line)"
  # A current directory that has no place in the sandbox, or none at all.
  status=0
  (mkdir gone && cd gone && rmdir ../gone && exec "$bulkhead" do "${do_args[@]}" -- /bin/pwd) >"$work/out" \
    2>"$work/err" </dev/null || status=$?
  [ "$status" = 125 ] || fail "a removed directory: status $status"
  grep -q 'current directory has been removed.*--cwd' "$work/err" || fail "a removed directory: no word of it"
  mkdir "/dev/shm/faults-$$"
  status=0
  (cd "/dev/shm/faults-$$" && exec "$bulkhead" do "${do_args[@]}" -- /bin/pwd) >"$work/out" 2>"$work/err" \
    </dev/null || status=$?
  rmdir "/dev/shm/faults-$$"
  [ "$status" = 125 ] || fail "a directory in the host's /dev: status $status"
  grep -q "/dev/shm/faults-$$: No such file" "$work/err" || fail "a directory in the host's /dev: no word of it"
  # Its niceness is the program's.
  [ "$(nice -n 5 "$bulkhead" do "${do_args[@]}" -- nice)" = "$(nice -n 5 nice)" ] || fail "niceness"
  expect_clean "what the caller brings along"
}

# The process's descendants, one pid a line.
descendants() {
  local child
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
    echo "$child"
    descendants "$child"
  done
}

part_killed() {
  local role round victim pid status what parent candidate
  for role in bulkhead sentry gofer stub; do
    for round in $(seq 5); do
      "$bulkhead" do "${do_args[@]}" -- /bin/sh -c 'while :; do cat /etc/hostname >/tmp/x; ls / >/dev/null; done' \
        >/dev/null 2>"$work/err" </dev/null &
      pid=$!
      # A moment that differs: while it starts, or while it runs.
      sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
      victim=
      for _ in $(seq 200); do
        case $role in
        bulkhead) victim=$pid ;;
        *)
          for candidate in $(descendants "$pid"); do
            { read -r what <"/proc/$candidate/comm"; } 2>/dev/null || continue
            # The sentry's children are the guest's processes ("stubs").
            { read -r _ parent < <(grep ^PPid "/proc/$candidate/status") && read -r parent <"/proc/$parent/comm"; } \
              2>/dev/null || continue
            case $role-$parent-$what in
            gofer-*-bulkhead-gofer | sentry-bulkhead-bulkhead-sentry | stub-bulkhead-sentry-*) victim=$candidate ;;
            esac
          done
          ;;
        esac
        [ -z "$victim" ] || break
        sleep 0.01
      done
      if [ -z "$victim" ]; then
        fail "found no $role to kill"
        kill -9 "$pid"
        wait "$pid" 2>/dev/null
        continue
      fi
      kill -9 "$victim" 2>/dev/null
      if [ "$role" = stub ]; then
        # The guest goes on without that process, or ends.
        sleep 0.05
        kill -9 "$pid" 2>/dev/null
      fi
      for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
      done
      if kill -0 "$pid" 2>/dev/null; then
        fail "bulkhead still runs 5 s after its $role was killed"
        kill -9 "$pid"
      fi
      status=0
      { wait "$pid" || status=$?; } 2>/dev/null
      [ "$status" != 0 ] || fail "status 0 after the $role was killed"
      [ "$role" = bulkhead ] || [ "$role" = stub ] || [ "$status" = 137 ] || [ -s "$work/err" ] ||
        fail "the $role was killed: status $status and no message"
      expect_clean "the $role killed"
    done
  done
  # The first stub, which the others come from, holds no guest process: without it there is no sandbox.
  mkfifo "$work/ready"
  "$bulkhead" do "${do_args[@]}" -- /bin/sh -c 'echo; exec sleep 100' >"$work/ready" 2>"$work/err" </dev/null &
  pid=$!
  read -r _ <"$work/ready"
  victim=
  for candidate in $(descendants "$pid"); do
    read -r parent < <(sed -n 's/^PPid:\t//p' "/proc/$candidate/status")
    read -r what <"/proc/$parent/comm"
    [ "$what" != bulkhead-sentry ] || [ -n "$victim" ] || victim=$candidate
  done
  kill -9 "$victim"
  status=0
  { wait "$pid" || status=$?; } 2>/dev/null
  [ "$status" = 137 ] || fail "the first stub was killed: status $status"
  grep -q 'first stub was killed' "$work/err" || fail "the first stub was killed: no word of it"
  expect_clean "the first stub killed"
}

run_many() {
  local i status memory_before memory_after files_before files_after
  "$bulkhead" do "${do_args[@]}" -- /bin/true || fail "the first run"
  expect_clean "the first run"
  files_before=$(cut -f1 /proc/sys/fs/file-nr)
  memory_before=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
  for i in $(seq "$1"); do
    status=0
    "$bulkhead" do "${do_args[@]}" -- /bin/true </dev/null >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = 0 ] || { fail "run $i: status $status"; return; }
    [ ! -s "$work/err" ] || { fail "run $i said something"; return; }
  done
  expect_clean "$1 runs"
  files_after=$(cut -f1 /proc/sys/fs/file-nr)
  memory_after=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
  echo "$1 runs: open files $files_before to $files_after, available memory $memory_before to $memory_after kB"
  # Other programs of the host move these numbers, too: a leak of one a run would show beyond that.
  ((files_after - files_before < 500 + $1)) || fail "open files grew from $files_before to $files_after"
  if [ "$1" -ge 1000 ]; then
    ((memory_before - memory_after < 512 * 1024)) || fail "memory fell from $memory_before to $memory_after kB"
  fi
}

case $part in
status) part_status ;;
config) part_config ;;
limits) part_limits ;;
caller) part_caller ;;
killed) part_killed ;;
runs) run_many 20 ;;
thousand-runs) run_many 1000 ;;
*) echo "no part $part"; exit 2 ;;
esac
[ "$failed" != 0 ] || echo "$part: passed"
exit "$failed"
