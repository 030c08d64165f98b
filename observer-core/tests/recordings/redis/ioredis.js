// Streams and channels by ioredis: ioredis.js PORT. Prints `produced` or `fetched`, key and traceparent of everything that is work.

const Redis = require('ioredis');

const port = Number(process.argv[2]);
const trace = (number) => `00-${String(number).padStart(32, '0')}-${String(number).padStart(16, '0')}-01`;
const tell = (what, key, trace) => console.log(what, key, trace);

async function streams() {
  const writer = new Redis(port);
  const reader = new Redis(port);
  await writer.xgroup('CREATE', 'orders', 'billing', '$', 'MKSTREAM');
  const reading = reader.xreadgroup('GROUP', 'billing', 'one', 'COUNT', 2, 'BLOCK', 5000, 'STREAMS', 'orders', '>');
  for (const number of [1, 2]) {
    await writer.xadd('orders', '*', 'traceparent', trace(number), 'x-tenant-id', 'acme', 'authorization', 'secret');
    tell('produced', 'orders', trace(number));
  }
  for (const read of [await reading, await reader.xreadgroup('GROUP', 'billing', 'one', 'COUNT', 2, 'BLOCK', 5000, 'STREAMS', 'orders', '>')]) {
    for (const [key, entries] of read) for (const [, fields] of entries) tell('fetched', key, fields[fields.indexOf('traceparent') + 1]);
  }
  const listener = new Redis(port);
  await listener.subscribe('news');
  const heard = new Promise((resolve) => listener.on('message', (channel, text) => {
    tell('fetched', channel, JSON.parse(text).headers.traceparent);
    resolve();
  }));
  await writer.publish('news', JSON.stringify({ headers: { traceparent: trace(9), 'x-tenant-id': 'acme' } }));
  tell('produced', 'news', trace(9));
  await heard;
  await Promise.all([writer, reader, listener].map((client) => client.quit()));
}

streams();
