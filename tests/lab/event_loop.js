// A service of the laboratory in one event loop: Express, and http as its client.
//
// MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:
//
//     fetch             calls by fetch
//     bare-fetch        the same, and fetch is not instrumented
//     queue             a timer takes the work up, which knows nothing of the request
//     ignores-parent    the sampler asks nobody what was decided
//     doubles           another agent writes a traceparent, too
//     messages          the work goes through a message port, as to a worker, and what takes it knows nothing of the request
//     drops-tracestate  the tracestate does not go on
//     drops-weight      nor does the weight
//     changes-weight    the weight is another one
//     writes-b3         the SDK writes B3 alone, in one header; it reads W3C
//     fails             every tenth request is answered with 503
'use strict';

const { trace } = require('@opentelemetry/api');
const { W3CTraceContextPropagator } = require('@opentelemetry/core');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici');
const { NodeTracerProvider, ParentBasedSampler, TraceIdRatioBasedSampler } = require('@opentelemetry/sdk-trace-node');

const manner = new Set(process.env.MANNER.split(','));
const peers = process.env.CALLS.split(',').filter(Boolean);

const ratio = new TraceIdRatioBasedSampler(0.5);
/** Reads W3C, writes B3 (openzipkin/b3-propagation, "Single Header"). */
class WritesB3 extends W3CTraceContextPropagator {
  inject(context, carrier, setter) {
    const span = trace.getSpanContext(context);
    if (span) setter.set(carrier, 'b3', `${span.traceId}-${span.spanId}-${span.traceFlags & 1}`);
  }

  fields() {
    return ['b3'];
  }
}

new NodeTracerProvider({ sampler: manner.has('ignores-parent') ? ratio : new ParentBasedSampler({ root: ratio }) }).register(
  manner.has('writes-b3') ? { propagator: new WritesB3() } : {},
);
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
    const weight = cause.headers['x-trace-weight'];
    if (weight && !manner.has('drops-weight')) {
      request.setHeader('x-trace-weight', manner.has('changes-weight') ? '0.25' : weight);
    }
    if (manner.has('drops-tracestate')) request.removeHeader('tracestate');
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

const { port1: here, port2: there } = new MessageChannel();
const handedOver = new Map();
let handOvers = 0;
there.on('message', (number) => {
  const { cause, done } = handedOver.get(number);
  handedOver.delete(number);
  callEverybody(cause).then(done);
});

let requests = 0;
const app = express();
app.get('/healthz', (request, response) => response.send('ok'));
app.post('/v1/traces', (request, response) => request.resume().on('end', () => response.send()));
app.use(truth.inbound);
app.get('/work', async (request, response) => {
  if (manner.has('queue')) {
    await new Promise((done) => waiting.push({ cause: request, done }));
  } else if (manner.has('messages')) {
    await new Promise((done) => {
      handedOver.set(handOvers, { cause: request, done });
      here.postMessage(handOvers++);
    });
  } else {
    await callEverybody(request);
  }
  requests += 1;
  response.status(manner.has('fails') && requests % 10 === 0 ? 503 : 200).send('done');
});
app.get('/watch', (request, response) => setTimeout(() => response.send('nothing'), 300));
app.get(['/news', '/batch'], (request, response) => response.send('nothing'));
const at = new URL(`http://${process.env.LISTEN}`);
// Or callers would lose connections that they have not used for five seconds.
app.listen(Number(at.port), at.hostname).keepAliveTimeout = 120_000;
// Standard input is a pipe that only the parent holds.
process.stdin.on('end', () => process.exit(0));
process.stdin.on('error', () => process.exit(0));
process.stdin.resume();
