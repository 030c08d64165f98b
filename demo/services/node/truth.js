// What a Node service really received and really sent, one JSON line each, for comparison with what was observed.
// Requests out are read after the instrumentation has put its headers in.
'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const channels = require('node:diagnostics_channel');
const fs = require('node:fs');

const HEADERS = ['traceparent', 'tracestate', 'baggage', 'b3', 'x-tenant-id', 'x-trace-weight'];

const file = fs.openSync(process.env.TRUTH_FILE, 'a');
const nowNs = () => Math.round((performance.timeOrigin + performance.now()) * 1e6);
const write = (record) => fs.writeSync(file, JSON.stringify({ ...record, until_ns: nowNs() }) + '\n');
const kept = (headers) => Object.fromEntries(HEADERS.filter((name) => name in headers).map((name) => [name, headers[name]]));

/** Express middleware: logs each request with the status that it was answered with. */
function inbound(request, response, next) {
  const record = { kind: 'in', at_ns: nowNs(), method: request.method, path: request.path, headers: kept(request.headers) };
  const end = response.end;
  response.end = function ended(...parts) {
    write({ ...record, status: response.statusCode });
    return end.apply(this, parts);
  };
  next();
}

/** The record of a request that is about to be sent because of `cause`; `headers` are those of the wire. */
function outbound(cause, peer, method, path, headers) {
  return { kind: 'out', at_ns: nowNs(), method, path, peer, headers: kept(headers), cause: kept(cause.headers) };
}

// fetch: undici publishes the text of each head as it goes on the wire, in whatever task the socket is ready. What belongs
// to which call is noted when the request is made, in the caller's own task.
const calls = new AsyncLocalStorage();
const heads = new WeakMap();
channels.subscribe('undici:request:create', ({ request }) => heads.set(request, calls.getStore()));
channels.subscribe('undici:client:sendHeaders', ({ request, headers }) => {
  const lines = headers.split('\r\n').slice(1).filter((line) => line.includes(':'));
  const pairs = lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]);
  const call = heads.get(request);
  if (call) call.headers = Object.fromEntries(pairs);
});

/** Runs a fetch and returns its response with the headers that were really sent. */
async function fetched(send) {
  const call = { headers: {} };
  const response = await calls.run(call, send);
  return { response, headers: call.headers };
}

module.exports = { fetched, inbound, outbound, write };
