#!/bin/bash
# memcached: four threads, the text protocol over TCP and a UNIX socket, UDP off, statistics, many clients.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 "$server"; rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
clients=8
[[ ${APP_SIZE:-short} == short ]] || clients=100
port=$((20000 + RANDOM % 10000))
user=()
[[ $(id -u) != 0 ]] || user=(-u nobody)
memcached "${user[@]}" -l 127.0.0.1 -p "$port" -t 4 -m 16 -U 0 &
server=$!
until { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; do kill -0 "$server"; sleep 0.02; done
ask() { printf '%s\r\n' "$@" >&3; }
answer() { local line; for _ in $(seq "$1"); do read -r -t 60 -u 3 line; echo "${line%$'\r'}"; done; }
ask 'set greeting 5 0 5' hello; answer 1
ask 'get greeting nothing'; answer 3
ask 'add greeting 0 0 1' x 'replace greeting 0 0 2' hi 'append greeting 0 0 1' '!' 'get greeting'; answer 6
ask 'set n 0 0 1' 1 'incr n 41' 'decr n 2' 'delete n' 'incr n 1'; answer 5
ask 'set short 0 -1 1' x 'get short'; answer 2
ask 'bogus'; answer 1
echo "== clients"
client() {
  local i line
  exec 4<>"/dev/tcp/127.0.0.1/$port"
  for i in $(seq 50); do
    printf 'set c%s-%s 0 0 4\r\n%04d\r\nget c%s-%s\r\n' "$1" "$i" "$i" "$1" "$i" >&4
    read -r -t 60 -u 4 line; read -r -t 60 -u 4 line; read -r -t 60 -u 4 line; echo "${line%$'\r'}"; read -r -t 60 -u 4 line
  done
}
pids=()
for i in $(seq "$clients"); do client "$i" >"client$i" & pids+=($!); done
wait "${pids[@]}"
cat client* | sort | uniq -c | awk '{ print $1 }' | sort -u
ask stats; while line=$(answer 1) && [[ $line != END ]]; do echo "$line"; done | grep -E 'STAT (threads|cmd_set|get_hits|curr_items) '
ask 'quit'
kill -TERM "$server"; wait "$server" || true
server=
{ exec 5<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || echo "gone"
