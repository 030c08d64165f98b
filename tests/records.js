// Services that pass records on through a Kafka broker with kafkajs, as records.py does.
//
//     records.js NAME producer BROKER LISTEN LOG
//     records.js NAME consumer BROKER NEXT PEER continues COUNTS LOG
//
// The broker is talked to over TLS where CERTIFICATE names a file.
'use strict';

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const { CompressionTypes, Kafka, logLevel } = require('kafkajs');

const [name, role, broker, ...rest] = process.argv.slice(2);
const log = fs.openSync(rest.pop(), 'w');
const LOGGED = ['traceparent', 'x-tenant-id'];
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP };
// Long and dull enough to be compressed.
const VALUE = 'an order of the shop, '.repeat(20);

const logged = (headers) => Object.fromEntries(LOGGED.filter((key) => key in headers).map((key) => [key, String(headers[key])]));

function write(kind, path, headers, more) {
  const atNs = String(BigInt(Math.trunc(performance.timeOrigin * 1e3 + performance.now() * 1e3)) * 1000n);
  const record = JSON.stringify({ kind, path, headers, status: 200, ...more });
  fs.writeSync(log, `${record.slice(0, -1)},"at_ns":${atNs}}\n`);
}

function newTrace(tenant) {
  const traceparent = `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
  return tenant ? { traceparent, 'x-tenant-id': tenant } : { traceparent };
}

function continued(headers) {
  const [version, trace, , flags] = headers.traceparent.split('-');
  return { ...headers, traceparent: [version, trace, randomBytes(8).toString('hex'), flags].join('-') };
}

function get(address, headers) {
  return new Promise((resolve, reject) => {
    const request = http.get(`http://${address}/`, { headers, agent: false }, (response) => {
      response.resume().on('end', resolve);
    });
    request.on('error', reject);
  });
}

function recordsOf(what, cause) {
  if (what === 'loses') return [{}];
  if (what === 'restarts') return [newTrace(cause['x-tenant-id'])];
  return Array.from({ length: what === 'many' ? 10 : 1 }, () => continued(cause));
}

async function serve(kafka, listen) {
  const producer = kafka.producer();
  await producer.connect();
  const server = http.createServer(async (request, response) => {
    const cause = logged(request.headers);
    write('in', request.url, cause);
    const [, codec, what] = request.url.split('/');
    const topic = `orders-${codec}`;
    const records = recordsOf(what, cause);
    for (const headers of records) write('out', topic, headers, { peer: `kafka:${topic}`, cause });
    const messages = records.map((headers) => ({ value: VALUE, headers }));
    await producer.send({ topic, compression: CODECS[codec], messages });
    response.end();
  });
  const [host, port] = listen.split(':');
  server.listen(Number(port), host, () => console.log('ready'));
}

async function consume(kafka, next, peer, _manner, counts) {
  // The broker in memory answers a fetch when its time is over.
  const consumer = kafka.consumer({ groupId: name, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topics: Object.keys(CODECS).map((codec) => `orders-${codec}`), fromBeginning: true });
  const left = counts.split(',').map(Number);
  consumer.on(consumer.events.GROUP_JOIN, () => console.log('ready'));
  await consumer.run({
    eachMessage: async ({ topic, message }) => {
      const received = logged(message.headers);
      write('in', topic, received);
      const follows = 'traceparent' in received;
      const headers = follows ? continued(received) : newTrace(received['x-tenant-id']);
      write('out', '/', headers, { peer, cause: follows ? received : null });
      await get(next, headers);
      left[0] -= 1;
      if (left[0] === 0) {
        left.shift();
        console.log('done');
      }
    },
  });
}

const ssl = process.env.CERTIFICATE && { ca: fs.readFileSync(process.env.CERTIFICATE) };
const kafka = new Kafka({ clientId: name, brokers: [broker], ssl, logLevel: logLevel.ERROR });
(role === 'producer' ? serve : consume)(kafka, ...rest);
