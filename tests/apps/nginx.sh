#!/bin/bash
# nginx: two workers, static files with ranges and compression, a proxy to itself, a reload, wrk from inside.
set -euo pipefail
work=$(mktemp -d)
trap '[[ ! -s $work/pid ]] || kill "$(<"$work/pid")" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
chmod 755 "$work"
seconds=1
[[ ${APP_SIZE:-short} == short ]] || seconds=10
port=$((20000 + RANDOM % 10000))
mkdir html temp
chmod 777 temp
echo '<h1>It works</h1>' >html/index.html
seq 1 20000 >html/numbers.txt
head -c 1000000 /dev/zero | tr '\0' x >html/large
configure() {
  cat >nginx.conf <<CONF
daemon on;
pid $work/pid;
error_log $work/error.log notice;
worker_processes 2;
$([[ $(id -u) != 0 ]] || echo 'user nobody nogroup;')
events { worker_connections 128; }
http {
  access_log $work/access.log;
  client_body_temp_path $work/temp/1; proxy_temp_path $work/temp/2; fastcgi_temp_path $work/temp/3;
  uwsgi_temp_path $work/temp/4; scgi_temp_path $work/temp/5;
  types { text/plain txt; text/html html; }
  sendfile on;
  gzip on;
  gzip_types text/plain;
  server {
    listen 127.0.0.1:$port reuseport;
    root $work/html;
    location /version { return 200 "$1\n"; }
    location /proxy/ { proxy_pass http://unix:$work/socket:/; }
  }
  server { listen unix:$work/socket; root $work/html; }
}
CONF
}
get() { curl -sS "$@"; }
url=http://127.0.0.1:$port
configure one
nginx -t -c "$work/nginx.conf" 2>&1 | sed "s|$work||g"
nginx -c "$work/nginx.conf" -p "$work" 2>/dev/null
until get -o /dev/null "$url/" 2>/dev/null; do sleep 0.02; done
echo "== static files"
get "$url/"
get -o /dev/null -w '%{http_code} %{content_type}\n' "$url/nothing"
get -r 100-119 "$url/numbers.txt"; echo
get --compressed "$url/numbers.txt" | cksum
get "$url/large" | sha256sum
get -I "$url/large" | tr -d '\r' | grep -E '^(HTTP|Content-Length|Accept-Ranges)'
get "$url/proxy/" "$url/proxy/numbers.txt" | cksum
echo "== workers"
master=$(<pid)
pgrep -P "$master" -c nginx
echo "== reload"
configure two
get "$url/version"
kill -HUP "$master"
until [[ $(get "$url/version" 2>/dev/null) == two ]]; do sleep 0.05; done
echo reloaded  # the old workers may answer once more
echo "== load"
wrk -t 2 -c 20 -d "${seconds}s" "$url/" >wrk.out
grep 'Non-2xx' wrk.out || true
[[ $(awk '/requests in/ { print $1 }' wrk.out) -gt 100 ]] && echo "answers under load"
grep -c -E '\[(alert|crit|emerg)\]' error.log || true
echo "== quit"
kill -QUIT "$master"
while [[ -e pid ]]; do sleep 0.02; done
get "$url/" 2>/dev/null || echo "gone: $?"
