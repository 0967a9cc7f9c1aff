#!/bin/bash
# `bulkhead do --strace` prints what strace(1) prints, call by call, for a program that makes calls of every kind.
#   strace_test.sh PROGRAM BULKHEAD [BULKHEAD-DO-ARGS…]
set -eu
program=$(realpath "$1") bulkhead=$(realpath "$2")
shift 2
command -v strace >/dev/null || { echo "no strace"; exit 77; }
work=$(mktemp -d /tmp/strace-XXXXXX)
trap 'rm -rf "$work"' EXIT
cp "$program" "$work/program"
chmod 755 "$work" "$work/program"

# From the program's first words on: without process ids and addresses, and without how strace fills columns.
# What a signal says of its sender and of time used is the run's, too.
comparable() {
  sed -n '/write(1, "begin/,$p' |
    sed -E -e 's/^\[pid +[0-9]+\] //' -e 's/ += /=/' -e 's/0x[0-9a-f]{5,}/ADDRESS/g' \
      -e 's/si_pid=[0-9]+, si_uid=[0-9]+/si_pid=PID, si_uid=UID/' -e 's/si_utime=[0-9]+, si_stime=[0-9]+/si_utime=T/' \
      -e 's/^(fork|getpid)\(\)=[0-9]+/\1()=PID/' -e 's/parent_tid=\[[0-9]+\]/parent_tid=[PID]/' \
      -e 's/^(clone3\(.*)=[0-9]+$/\1=PID/' -e 's/htons\([0-9]{4,}\)/htons(PORT)/g' -e 's/\{pid=[0-9]+, uid=[0-9]+, gid=[0-9]+/{pid=PID/' \
      -e 's/^kill\([0-9]+/kill(PID/' \
      -e 's/^(wait4)\([0-9]+(.*)=[0-9]+$/\1(PID\2=PID/' -e 's/ \(core dumped\)//' "$@"
}
cd "$work"
mkdir native sandboxed
{ (cd native && strace -o "$work/native.raw" "$work/program" >/dev/null) || :; } 2>/dev/null
"$bulkhead" do "$@" --bind "$work:$work" --cwd "$work/sandboxed" --strace --log "$work/sandboxed.raw" -- "$work/program" \
  >/dev/null || :
comparable <native.raw >native.txt
# strace follows no child unless it is told to: its lines are the first process's.
grep '^\[pid     2\]' sandboxed.raw | comparable >sandboxed.txt

failed=0
[ "$(wc -l <native.txt)" -gt 90 ] || { echo "FAIL: strace saw only $(wc -l <native.txt) lines"; failed=1; }
diff -u native.txt sandboxed.txt || { echo "FAIL: --strace differs from strace(1) (<: strace)"; failed=1; }
head -1 sandboxed.raw | grep -qE '^\[pid     2\] execve\("/.*/program", \["/.*/program"\], 0x[0-9a-f]+ /\* [0-9]+ vars \*/\) = 0$' ||
  { echo "FAIL: the first line: $(head -1 sandboxed.raw)"; failed=1; }
grep -qE '^\[pid     3\] \+\+\+ exited with 3 \+\+\+$' sandboxed.raw || { echo "FAIL: the child's end is not there"; failed=1; }
exit $failed
