#!/bin/bash
# PHP: the command line and its built-in web server.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 "$server"; rm -rf "$work"' EXIT
cd "$work"
cat >main.php <<'PHP'
<?php
echo PHP_OS, ' ', PHP_INT_SIZE, ' ', php_sapi_name(), "\n";
function fib(int $n): int { return $n < 2 ? $n : fib($n - 1) + fib($n - 2); }
echo fib(20), ' ', array_sum(array_map(fn($x) => $x ** 2, range(1, 100))), "\n";
echo json_encode(['a' => 1, 'b' => [true, null, 'ü']], JSON_UNESCAPED_UNICODE), ' ', hash('sha256', 'x'), "\n";
file_put_contents('file', str_repeat("line\n", 1000), LOCK_EX);
echo filesize('file'), ' ', count(file('file')), ' ', substr(sprintf('%o', fileperms('file')), -4), "\n";
foreach (glob('*') as $name) echo $name, "\n";
$process = proc_open(['tr', 'a-z', 'A-Z'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], 'piped'); fclose($pipes[0]);
echo stream_get_contents($pipes[1]), ' ', proc_close($process), "\n";
echo trim(shell_exec('echo from a shell')), "\n";
[$a, $b] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
fwrite($a, "over a pair\n"); echo fgets($b);
$server = stream_socket_server('tcp://127.0.0.1:0');
$client = stream_socket_client('tcp://' . stream_socket_get_name($server, false));
$peer = stream_socket_accept($server);
fwrite($client, "over TCP\n"); echo fgets($peer);
$r = [$peer]; $w = $e = null;
echo stream_select($r, $w, $e, 0, 1000), "\n";
if (function_exists('pcntl_fork')) {
  pcntl_async_signals(true);
  pcntl_signal(SIGUSR1, function () { echo "SIGUSR1\n"; });
  posix_kill(posix_getpid(), SIGUSR1);
  $pid = pcntl_fork();
  if ($pid === 0) exit(7);
  pcntl_waitpid($pid, $status);
  echo pcntl_wexitstatus($status), "\n";
}
try { intdiv(1, 0); } catch (DivisionByZeroError $e) { echo get_class($e), "\n"; }
class Counter implements IteratorAggregate {
  public function getIterator(): Generator { for ($i = 0; $i < 3; $i++) yield $i; }
}
echo implode(',', iterator_to_array(new Counter)), ' ', preg_replace('/(\w+) (\w+)/', '$2 $1', 'hello world'), "\n";
PHP
php main.php
echo "== web server"
echo '<?php echo $_SERVER["REQUEST_METHOD"], " ", $_GET["q"] ?? "", "\n";' >index.php
port=$((20000 + RANDOM % 10000))
PHP_CLI_SERVER_WORKERS=2 php -S "127.0.0.1:$port" >log 2>&1 &
server=$!
until curl -sS "http://127.0.0.1:$port/?q=1" 2>/dev/null; do kill -0 "$server"; sleep 0.05; done
curl -sS -d x=y "http://127.0.0.1:$port/?q=two"
kill "$server"; wait "$server" 2>/dev/null || true
server=
