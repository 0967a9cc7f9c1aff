# A server and its clients, both inside.
cd /var/hap || exit 1
redis-server --port 7379 --bind 127.0.0.1 --save '' --daemonize no > /dev/null 2>&1 &
server=$!
tries=0
until redis-cli -p 7379 ping > /dev/null 2>&1; do
  kill -0 $server || exit 1
  tries=$((tries + 1))
  [ $tries -lt 1000 ] || exit 1
done
echo 'hap: ready'
read -r go
redis-benchmark -p 7379 -n 200 -c 10 -q -t set,get,incr,lpush,lrange_100,sadd > /dev/null || exit 1
echo 'hap: done'
read -r end || :
kill $server
wait $server
