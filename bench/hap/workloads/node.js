// An http server and its clients in one process.
const http = require('http');
const lines = require('readline').createInterface({input: process.stdin});
const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => response.end(JSON.stringify({url: request.url, size: body.length})));
});
function ask(number) {
  return new Promise((resolve, reject) => {
    const request = http.request({host: '127.0.0.1', port: 7380, path: '/' + number, method: 'POST'}, (response) => {
      response.on('data', () => {});
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end('x'.repeat(number));
  });
}
server.listen(7380, '127.0.0.1', () => {
  console.log('hap: ready');
  lines.once('line', async () => {
    for (let round = 0; round < 20; ++round)
      await Promise.all([1, 2, 3, 4, 5].map((n) => ask(n * 100 + round)));
    console.log('hap: done');
    lines.once('close', () => process.exit(0));
  });
});
