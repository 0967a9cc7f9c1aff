#!/bin/bash
# Node.js: a http server and its client, worker threads, child processes, streams; npm with a local package.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
requests=50
[[ ${APP_SIZE:-short} == short ]] || requests=5000
cat >main.js <<'JS'
const http = require('http'), net = require('net'), fs = require('fs'), os = require('os');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { spawn, execFileSync, fork } = require('child_process');
const zlib = require('zlib'), crypto = require('crypto'), { pipeline } = require('stream/promises');

if (!isMainThread) {
  const view = new Int32Array(workerData.shared);
  for (let i = 0; i < 1000; i++) Atomics.add(view, 0, 1);
  Atomics.notify(view, 1);
  parentPort.postMessage(workerData.index * workerData.index);
  return;
}
if (process.argv[2] === 'child') {
  process.on('message', (m) => { process.send({ doubled: m.value * 2 }); process.disconnect(); });
  return;
}
const ask = (options) => new Promise((resolve, reject) => {
  const request = http.request(options, (response) => {
    let body = '';
    response.on('data', (chunk) => (body += chunk)).on('end', () => resolve(`${response.statusCode} ${body}`));
  });
  request.on('error', reject).end(options.body);
});
(async () => {
  console.log('== http');
  const server = http.createServer((request, response) => {
    let size = 0;
    request.on('data', (d) => (size += d.length)).on('end', () => {
      response.end(`${request.method} ${request.url} ${size}`);
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  const port = server.address().port;
  const answers = await Promise.all(Array.from({ length: +process.env.REQUESTS }, (_, i) =>
    ask({ port, agent, path: `/${i}`, method: 'POST', body: 'x'.repeat(i * 10) })));
  console.log(answers.length, answers[0], answers[answers.length - 1]);
  console.log(await fetch(`http://127.0.0.1:${port}/fetched`).then((r) => r.text()));
  agent.destroy();
  await new Promise((done) => { server.close(done); server.closeAllConnections(); });
  await ask({ port, path: '/' }).catch((e) => console.log(e.code));

  console.log('== worker threads');
  const shared = new SharedArrayBuffer(8);
  const squares = await Promise.all([1, 2, 3, 4].map((index) => new Promise((resolve, reject) => {
    new Worker(__filename, { workerData: { index, shared } }).on('message', resolve).on('error', reject);
  })));
  console.log(squares, new Int32Array(shared)[0]);

  console.log('== child processes');
  console.log(execFileSync('/bin/sh', ['-c', 'echo from a shell; exit 0']).toString().trim());
  const cat = spawn('cat');
  cat.stdin.end('through cat');
  let text = '';
  for await (const chunk of cat.stdout) text += chunk;
  console.log(text);
  const failing = spawn('sh', ['-c', 'kill -TERM $$']);
  console.log(await new Promise((done) => failing.on('exit', (code, signal) => done([code, signal]))));
  const child = fork(__filename, ['child']);
  child.send({ value: 21 });
  console.log(await new Promise((done) => child.on('message', done)));
  await new Promise((done) => child.on('exit', done));
  await new Promise((done) => spawn('/no/such').on('error', (e) => { console.log(e.code); done(); }));

  console.log('== files, streams, sockets');
  await pipeline(async function* () { for (let i = 0; i < 2000; i++) yield `line ${i}\n`; },
    zlib.createGzip(), fs.createWriteStream('lines.gz'));
  const hash = crypto.createHash('sha256');
  await pipeline(fs.createReadStream('lines.gz'), zlib.createGunzip(), hash);
  console.log(hash.digest('hex'));
  const watched = new Promise((done) => {
    const watcher = fs.watch('.', (event, name) => { if (name === 'new') { watcher.close(); done(event); } });
  });
  fs.writeFileSync('new', '');
  console.log(await watched);
  const echo = net.createServer((socket) => socket.pipe(socket)).listen('echo.sock');
  const peer = net.connect('echo.sock');
  peer.end('over a UNIX socket');
  text = '';
  for await (const chunk of peer) text += chunk;
  console.log(text);
  await new Promise((done) => echo.close(done));
  const keys = crypto.generateKeyPairSync('ed25519');
  console.log(crypto.verify(null, Buffer.from('m'), keys.publicKey, crypto.sign(null, Buffer.from('m'), keys.privateKey)));
  console.log(await new Promise((done) => crypto.pbkdf2('a', 'b', 1000, 8, 'sha256', (e, k) => done(k.toString('hex')))));
  console.log((await require('dns').promises.lookup('localhost', { family: 4 })).address);

  console.log('== the system');
  console.log(os.cpus().length > 0, os.totalmem() >= os.freemem(), os.uptime() > 0, os.platform(), os.arch());
  console.log(Object.keys(os.networkInterfaces()).includes('lo'), process.memoryUsage().rss > 1e6);
  process.once('SIGUSR2', () => console.log('SIGUSR2'));
  process.kill(process.pid, 'SIGUSR2');
  await new Promise((done) => setTimeout(done, 20));
})();
JS
REQUESTS=$requests node main.js
echo "== cluster"
cat >cluster.js <<'JS'
const cluster = require('cluster'), http = require('http');
if (cluster.isPrimary) {
  let ready = 0;
  for (let i = 0; i < 2; i++) cluster.fork();
  cluster.on('listening', async (worker, address) => {
    if (++ready < 2) return;
    const pids = new Set();
    for (let i = 0; i < 4; i++) {
      pids.add(await fetch(`http://127.0.0.1:${address.port}/`, { headers: { connection: 'close' } }).then((r) => r.text()));
    }
    console.log('workers that answered:', pids.size);
    cluster.disconnect(() => console.log('disconnected'));
  });
} else {
  http.createServer((request, response) => response.end(`${process.pid}`)).listen(0);
}
JS
node cluster.js
node -e 'process.stdin.on("data", d => process.stdout.write(d.toString().toUpperCase()))' <<<"standard input"
if command -v npm >/dev/null; then
  echo "== npm"
  mkdir package app
  echo '{"name": "greeter", "version": "1.0.0", "main": "index.js", "bin": {"greet": "greet.js"}}' >package/package.json
  echo 'module.exports = (name) => `hello ${name}`;' >package/index.js
  printf '#!/usr/bin/env node\nconsole.log(require("./index.js")(process.argv[2]));\n' >package/greet.js
  tar -czf greeter.tgz package
  cd app
  export HOME=$work npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
  npm init -y >/dev/null
  npm install --offline ../greeter.tgz | sed 's/ in .*//'
  node -p 'require("greeter")("npm")'
  ./node_modules/.bin/greet bin
fi
