#!/bin/bash
# strace of programs inside: calls, children, threads, signals, attaching, counting, injection.
set -euo pipefail
work=$(mktemp -d)
sleeper=
trap '[[ -z $sleeper ]] || kill -9 "$sleeper" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
echo content >file
clean() { sed -E 's/0x[0-9a-f]+/ADDR/g; s/^\[pid +[0-9]+\]/[pid N]/; s/[0-9]{4,}/N/g; s/si_pid=[0-9]+/si_pid=N/g'; }
echo "== calls"
strace -o trace -e trace=openat,read,write,close /bin/cat file | cat
sed -n '/"file"/,$p' trace | clean
strace -o trace -e trace=execve,exit_group /bin/true a b
sed -E 's/ADDR|0x[0-9a-f]+ .*vars.*/ENV/' trace
echo "== children"
strace -f -o trace -e trace=execve,exit_group,wait4 /bin/sh -c '/bin/true; /bin/false; (exit 3)' || echo "status $?"
grep -c "execve(" trace; grep -c exited trace
echo "== signals"
strace -o trace -e trace=none -e signal=all /bin/sh -c 'trap "echo caught" USR1; kill -USR1 $$' | clean
grep -o 'SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER' trace
strace -o trace -e trace=none /bin/sh -c 'kill -KILL $$' 2>/dev/null || echo "status $?"
tail -1 trace
echo "== counting"
strace -c -o trace /bin/true
grep -q -E ' execve$' trace && grep -q -E ' mmap$' trace && tail -1 trace | awk '{ print $NF }'
echo "== injection"
strace -o trace -e trace=openat -e inject=openat:error=EACCES:when=3+ /bin/cat file 2>&1 || echo "status $?"
echo "== paths and descriptors"
strace -y -o trace -e trace=read /bin/cat file | cat
grep -c 'file>, "content' trace
echo "== threads"
python3 - <<'PYTHON' >threads.txt
import subprocess
program = "import threading\nt=[threading.Thread(target=print, args=(i,)) for i in range(3)]\nfor x in t: x.start(); x.join()"
print(subprocess.run(["strace", "-f", "-o", "trace", "-e", "trace=clone,clone3,exit", "python3", "-c", program],
                     stdout=subprocess.PIPE, text=True, check=True).stdout, end="")
PYTHON
cat threads.txt
grep -c -E 'clone3?\(' trace
# How many are seen to exit is a race with the end of the program.
grep -q -E ' exit\(0\) ' trace && echo "threads exit"
echo "== attach"
sleep 1000 &
sleeper=$!
until [[ $(<"/proc/$sleeper/comm") == sleep ]]; do :; done
strace -o trace -p "$sleeper" 2>attached &
tracer=$!
until grep -q attached attached; do sleep 0.02; done
[[ $(sed -n 's/^TracerPid:\t//p' "/proc/$sleeper/status") == "$tracer" ]] && echo "TracerPid tells"
kill -INT "$tracer"; wait "$tracer" || true
kill -0 "$sleeper" && echo "still there"
grep -c -E 'nanosleep|restart_syscall' trace
