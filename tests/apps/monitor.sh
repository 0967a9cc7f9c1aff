#!/bin/bash
# What looks at the system: ps, top, htop, free, uptime, vmstat, lsof, ss, ip, pgrep, pstree-like walks of /proc.
set -euo pipefail
work=$(mktemp -d)
helper=
trap '[[ -z $helper ]] || kill -9 "$helper" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
export TERM=xterm COLUMNS=120 LINES=40
cat >helper.py <<'PYTHON'
import os, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 0))
named = socket.socket(socket.AF_UNIX)
named.bind(sys.argv[1])
named.listen()
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
kept = open("kept", "w")
removed = open("removed", "w")
os.unlink("removed")
print(listener.getsockname()[1], flush=True)
time.sleep(1000)
PYTHON
mkfifo ready
python3 helper.py "$work/socket" >ready &
helper=$!
read -r port <ready
echo "== ps"
ps -o pid=,ppid=,nlwp=,comm=,args= -p "$helper" | sed -E "s/ +/ /g; s/^ //; s/$helper/PID/; s/ $$ / PPID /; s|$work|WORK|"
ps -ww -eo pid,stat,etimes,rss,vsz,pcpu,user,wchan,tty,cmd >all; grep -c -F "helper.py $work" all
ps -L -p "$helper" -o lwp= | wc -l
[[ $(ps -o rss= -p "$helper") -gt 1000 && $(ps -o vsz= -p "$helper") -gt 5000 ]] && echo "sizes"
pgrep -f helper.py | grep -c -x "$helper"
echo "== top and htop"
top -b -n 1 -p "$helper" >top; grep -c -E 'python3$' top; grep -c -E '^(Tasks|%Cpu|MiB Mem|MiB Swap)' top
script -qec "stty rows 40 cols 120; timeout -s INT 3 htop -d 5" /dev/null </dev/null >htop || true
grep -a -c -F 'Load average' htop >/dev/null && echo "htop drew its screen"
echo "== free, uptime, vmstat"
free -b | awk '/^Mem:/ { print ($2 >= $3 && $2 >= $7 && $7 > 0) }'
uptime -p | cut -d' ' -f1
[[ $(vmstat 1 2 | tail -n 1 | wc -w) -ge 17 ]] && echo "vmstat counts"
[[ $(nproc) -le $(grep -c ^processor /proc/cpuinfo) ]] && echo "CPUs agree"
[[ $(getconf _NPROCESSORS_ONLN) == "$(grep -c '^cpu[0-9]' /proc/stat)" ]] && echo "and in /proc/stat"
w -h | wc -l >/dev/null
echo "== lsof"
lsof -w -p "$helper" -a -d '0-99' -F tn 2>/dev/null | grep -E '^n' | sed -E "s|$work|WORK|; s/:[0-9]+/:PORT/g" | grep -E 'PORT|WORK' | sort
lsof -w -p "$helper" -a -d cwd,txt -F n | grep -c -E "python3|$work"
lsof -w -t -i "TCP:$port" -sTCP:LISTEN | sed "s/^$helper$/the helper/"
echo "== ss and netstat"
ss -Htln "sport = :$port" 2>/dev/null | awk '{ print $1 }'
ss -Htn "sport = :$port" 2>/dev/null | awk '{ print $1 }' | sort | uniq -c | sed 's/^ *//'
ss -Hxl 2>/dev/null | grep -c "$work/socket"
ss -Htlpn "sport = :$port" 2>/dev/null | grep -c "pid=$helper"
grep -c 'lo:' /proc/net/dev
echo "== ip"
ip -o -4 addr show lo | awk '{ print $2, $4 }'
ip -o link show lo | awk '{ print $2, $3 }' | cut -d, -f1
echo "== /proc"
for file in status stat statm cmdline comm environ io limits maps smaps_rollup mountinfo oom_score sched wchan; do
  [[ -r /proc/$helper/$file ]] && cat "/proc/$helper/$file" >/dev/null && echo "$file"
done
readlink "/proc/$helper/exe" | sed 's/[0-9.]*$//'
grep -E '^(Name|Threads|State)' "/proc/$helper/status" | tr -s '\t ' ' '
for file in loadavg uptime stat meminfo vmstat cpuinfo version mounts filesystems sys/kernel/pid_max diskstats partitions \
  net/tcp net/unix net/route sys/vm/overcommit_memory interrupts self/cgroup; do
  cat "/proc/$file" >/dev/null && echo "$file"
done
