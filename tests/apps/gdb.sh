#!/bin/bash
# gdb on a program inside: breakpoints, stepping, variables, threads, watchpoints, signals, attach, core-free crash.
set -euo pipefail
work=$(mktemp -d)
sleeper=
trap '[[ -z $sleeper ]] || kill -9 "$sleeper" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
cat >main.c <<'C'
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int counter;
static int add(int a, int b) { int sum = a + b; counter++; return sum; }
static void* work(void* arg) { counter += *(int*)arg; return 0; }
static void on_signal(int n) { printf("signal %d\n", n); }
int main(int argc, char** argv) {
  int three = 3, total = 0;
  for (int i = 0; i < 4; i++) total = add(total, i);
  pthread_t thread;
  pthread_create(&thread, 0, work, &three);
  pthread_join(thread, 0);
  signal(SIGUSR1, on_signal);
  raise(SIGUSR1);
  printf("%d %d\n", total, counter);
  fflush(stdout);
  if (argc > 1) *(volatile int*)0 = 1;
  return total;
}
C
gcc -g -O0 -pthread -o main main.c
debug() {
  local arguments=()
  for command; do arguments+=(-ex "$command"); done
  DEBUGINFOD_URLS= HOME=$work gdb -q -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load off' \
    -ex 'set confirm off' -ex 'set pagination off' -ex 'set print address off' -ex 'set print thread-events off' \
    "${arguments[@]}" 2>&1 |
    grep -v -E '^(\[Thread debugging|Using host libthread|\[New Thread|\[Thread 0x|\[Switching|warning: Error dis)' |
    sed -E "s|$work|WORK|g; s/process [0-9]+/process PID/g; s/LWP [0-9]+/LWP N/g; s/0x[0-9a-f]+/ADDR/g; s/expected=[0-9]+/expected=N/
      s/PID +/PID /"
}
echo "== breakpoints"
debug 'file main' 'break add' 'run' 'print b' 'continue' 'print b' 'backtrace' 'finish' 'next' 'info locals' 'delete' \
  'print add(20, 22)' 'set variable total = 100' 'continue'
debug 'file main' 'break add if b == 3' 'run' 'print a' 'up' 'print i' 'kill'
echo "== stepping and registers"
debug 'file main' 'break main' 'run' 'stepi' 'stepi' 'nexti' 'print $rip != 0' 'print $eflags' 'info symbol $pc' \
  'x/2i $pc' 'kill'
echo "== watchpoints"
debug 'file main' 'break main' 'run' 'watch counter' 'continue' 'continue' 'kill'
debug 'file main' 'set can-use-hw-watchpoints 0' 'break main' 'run' 'watch counter' 'continue' 'continue' 'kill'
debug 'file main' 'break main' 'run' 'hbreak on_signal' 'continue' 'backtrace 1' 'kill'
echo "== threads"
debug 'file main' 'break work' 'run' 'backtrace 1' 'print *(int*)arg' 'thread apply 2 backtrace 1' 'delete' 'continue'
echo "== signals and crashes"
debug 'file main' 'handle SIGUSR1 stop print nopass' 'run' 'signal 0'
debug 'file main' 'run crash' 'backtrace' 'print total' 'kill'
echo "== catch"
debug 'file main' 'catch syscall write' 'run' 'continue' 'delete' 'continue'
echo "== children"
debug 'file /bin/sh' 'set follow-fork-mode child' 'set detach-on-fork on' 'catch exec' \
  "run -c '/bin/true; exit 3'" 'info inferiors' 'continue'
echo "== attach"
sleep 1000 &
sleeper=$!
until [[ $(<"/proc/$sleeper/comm") == sleep ]]; do :; done
DEBUGINFOD_URLS= gdb -q -nx -batch -p "$sleeper" -ex 'info inferiors' -ex 'detach' 2>/dev/null |
  grep -c -E "process $sleeper" || true
kill -0 "$sleeper" && echo "still there"
