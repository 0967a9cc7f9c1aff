#!/bin/bash
# redis: a server with RDB snapshots and an append-only file, redis-benchmark, and its data after kill -9.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 "$server"; rm -rf "$work"' EXIT
cd "$work"
requests=2000
[[ ${APP_SIZE:-short} == short ]] || requests=100000
socket=$work/redis.sock
cli() { redis-cli -s "$socket" "$@"; }

start() {
  redis-server --port 0 --unixsocket "$socket" --appendonly yes --appendfsync always --save '' --dir "$work" \
    --daemonize no "$@" >>log &
  server=$!
  until [[ $(cli ping 2>&1) == PONG ]]; do kill -0 "$server" || { cat log; exit 1; }; sleep 0.02; done
}
crash() {
  kill -9 "$server"
  wait "$server" 2>/dev/null || echo "the server ended with $?"
  server=
}
field() { cli info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }
saved() { until [[ $(field persistence rdb_bgsave_in_progress) == 0 &&
  $(field persistence aof_rewrite_in_progress) == 0 && $(field persistence aof_rewrite_scheduled) == 0 ]]; do
  sleep 0.02; done; }

echo "== commands"
start
cli set greeting "hello there"
cli rpush list a b c d
cli zadd scores 3 three 1 one 2 two
cli hset hash field value other 2
cli zrange scores 0 -1 withscores
cli lrange list 0 -1
cli eval 'return {redis.call("get", KEYS[1]), #ARGV}' 1 greeting x y
printf 'multi\nincr counter\nincr counter\nexec\n' | cli
seq 1 500 | sed 's/.*/set key:& value:&/' | cli --pipe | tail -1
cli expire key:1 1000
cli dbsize
echo "== publish and subscribe"
mkfifo messages
stdbuf -oL redis-cli -s "$socket" subscribe news >messages &
exec 3<messages
read -r -u 3 line; read -r -u 3 line; read -r -u 3 line
cli publish news flash
read -r -u 3 line; read -r -u 3 line; read -r -u 3 line; echo "$line"
kill "$!"; wait "$!" || true
exec 3<&-
echo "== benchmark"
redis-benchmark -s "$socket" -n "$requests" -c 20 -P 4 -q --csv -t set,get,incr,lpush,mset | cut -d, -f1
cli config resetstat
cli bgsave; saved; field persistence rdb_last_bgsave_status
cli bgrewriteaof; saved; field persistence aof_last_bgrewrite_status
cli set after rewrite
size=$(cli dbsize)
echo "== killed"
crash
start
[[ $(cli dbsize) == "$size" ]] && echo "every key is back"
cli mget greeting after key:500 counter
cli debug sleep 0 2>&1 | head -c 5; echo
echo "== a snapshot alone"
cli save
crash
rm -r appendonlydir
start --appendonly no
cli get key:42
echo "== threads and TCP"
cli shutdown nosave || true
wait "$server" && server=
port=$((20000 + RANDOM % 10000))
redis-server --port "$port" --io-threads 2 --io-threads-do-reads yes --save '' --dir "$work" >>log &
server=$!
until [[ $(redis-cli -p "$port" ping 2>&1) == PONG ]]; do kill -0 "$server" || { cat log; exit 1; }; sleep 0.02; done
# Fewer: redis's I/O threads spin while they wait for each other, which takes long where processors are few and busy.
redis-benchmark -p "$port" -n $((requests / 10)) -c 10 -q --csv -t ping | cut -d, -f1
redis-cli -p "$port" shutdown nosave || true
wait "$server" && server= && echo "shut down"
