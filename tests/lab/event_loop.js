// A service of the laboratory in one event loop: Express, and http as its client.
//
// MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:
//
//     fetch             calls by fetch
//     bare-fetch        the same, and fetch is not instrumented
//     queue             a timer takes the work up, which knows nothing of the request
//     ignores-parent    the sampler asks nobody what was decided
//     doubles           another agent writes a traceparent, too
//     fails             every tenth request is answered with 503
'use strict';

const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici');
const { NodeTracerProvider, ParentBasedSampler, TraceIdRatioBasedSampler } = require('@opentelemetry/sdk-trace-node');

const manner = new Set(process.env.MANNER.split(','));
const peers = process.env.CALLS.split(',').filter(Boolean);

const ratio = new TraceIdRatioBasedSampler(0.5);
new NodeTracerProvider({ sampler: manner.has('ignores-parent') ? ratio : new ParentBasedSampler({ root: ratio }) }).register();
registerInstrumentations({
  instrumentations: [
    new HttpInstrumentation({ ignoreIncomingRequestHook: (request) => request.url === '/healthz' }),
    new ExpressInstrumentation(),
    ...(manner.has('bare-fetch') ? [] : [new UndiciInstrumentation()]),
  ],
});

const express = require('express');
const http = require('node:http');
const truth = require(`${process.env.SHOP}/truth`);

const agent = new http.Agent({ keepAlive: true });

/** Calls a peer because of `cause`. */
function call(cause, peer) {
  return new Promise((resolve, reject) => {
    const request = http.request(new URL('/work', process.env[`URL_${peer.toUpperCase()}`]), { agent }, (response) => {
      response.resume();
      response.on('end', () => {
        truth.write({ ...record, status: response.statusCode });
        resolve();
      });
    });
    const sent = { ...request.getHeaders() };
    if (manner.has('doubles') && sent.traceparent) {
      const [version, trace, , flags] = sent.traceparent.split('-');
      request.setHeader('traceparent', [sent.traceparent, [version, trace, '00f067aa0ba902b7', flags].join('-')]);
      sent.traceparent = request.getHeader('traceparent').join(', ');
    }
    const record = truth.outbound(cause, peer, 'GET', '/work', sent);
    request.on('error', reject);
    request.end();
  });
}

async function callByFetch(cause, peer) {
  const { at_ns } = truth.outbound(cause, peer, 'GET', '/work', {});
  const { response, headers } = await truth.fetched(() => fetch(new URL('/work', process.env[`URL_${peer.toUpperCase()}`])));
  await response.arrayBuffer();
  truth.write({ ...truth.outbound(cause, peer, 'GET', '/work', headers), at_ns, status: response.status });
}

async function callEverybody(cause) {
  for (const peer of peers) {
    await (manner.has('fetch') || manner.has('bare-fetch') ? callByFetch : call)(cause, peer);
  }
}

const waiting = [];
if (manner.has('queue')) {
  setInterval(() => {
    for (const { cause, done } of waiting.splice(0)) callEverybody(cause).then(done);
  }, 5);
}

let requests = 0;
const app = express();
app.get('/healthz', (request, response) => response.send('ok'));
app.post('/v1/traces', (request, response) => request.resume().on('end', () => response.send()));
app.use(truth.inbound);
app.get('/work', async (request, response) => {
  if (manner.has('queue')) {
    await new Promise((done) => waiting.push({ cause: request, done }));
  } else {
    await callEverybody(request);
  }
  requests += 1;
  response.status(manner.has('fails') && requests % 10 === 0 ? 503 : 200).send('done');
});
app.get(['/news', '/batch'], (request, response) => response.send('nothing'));
const at = new URL(`http://${process.env.LISTEN}`);
// Or callers would lose connections that they have not used for five seconds.
app.listen(Number(at.port), at.hostname).keepAliveTimeout = 120_000;
// Standard input is a pipe that only the parent holds.
process.stdin.on('end', () => process.exit(0));
process.stdin.on('error', () => process.exit(0));
process.stdin.resume();
