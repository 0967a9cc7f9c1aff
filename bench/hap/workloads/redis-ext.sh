# A server inside whose clients are outside.
redis-server --port 7379 --bind 0.0.0.0 --protected-mode no --save '' --daemonize no > /dev/null 2>&1 &
server=$!
tries=0
until redis-cli -p 7379 ping > /dev/null 2>&1; do
  kill -0 $server || exit 1
  tries=$((tries + 1))
  [ $tries -lt 1000 ] || exit 1
done
echo 'hap: ready'
read -r go
echo 'hap: done'
read -r end || :
kill $server
wait $server
