// A Node service of the shop: its express application and its client. Require it after telemetry.setUp().
'use strict';

const http = require('node:http');
const express = require('express');
const truth = require('./truth');

const agent = new http.Agent({ keepAlive: true });
const url = (peer, path) => new URL(path, process.env[`URL_${peer.toUpperCase()}`]);

/** An application that answers its health check and logs every other request. */
function create() {
  const app = express();
  app.get('/healthz', (request, response) => response.send('ok'));
  app.use(truth.inbound);
  return app;
}

/** What every service of the shop hands on by hand: the tenant's header and the weight. */
function forwarded(request) {
  const headers = {};
  for (const name of ['x-tenant-id', 'x-trace-weight']) {
    if (request.headers[name]) headers[name] = request.headers[name];
  }
  return headers;
}

/** Posts to another service because of `cause`; resolves to the status. */
function call(cause, peer, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const options = { agent, method: 'POST', headers: { ...forwarded(cause), ...headers, 'content-length': 0 } };
    const request = http.request(url(peer, path), options, (response) => {
      response.resume();
      response.on('end', () => {
        truth.write({ ...record, status: response.statusCode });
        resolve(response.statusCode);
      });
    });
    const record = truth.outbound(cause, peer, 'POST', path, request.getHeaders());
    request.on('error', reject);
    request.end();
  });
}

/** The same by fetch. */
async function callByFetch(cause, peer, path, headers = {}) {
  const started = truth.outbound(cause, peer, 'POST', path, {});
  const send = () => fetch(url(peer, path), { method: 'POST', headers: { ...forwarded(cause), ...headers } });
  const { response, headers: sent } = await truth.fetched(send);
  await response.arrayBuffer();
  truth.write({ ...truth.outbound(cause, peer, 'POST', path, sent), at_ns: started.at_ns, status: response.status });
  return response.status;
}

/** Serves until the parent is gone: standard input is a pipe that only the parent holds. */
function serve(app) {
  const at = new URL(`http://${process.env.LISTEN}`);
  app.listen(Number(at.port), at.hostname.replace(/[[\]]/g, ''));
  process.stdin.on('end', () => process.exit(0));
  process.stdin.on('error', () => process.exit(0));
  process.stdin.resume();
}

module.exports = { call, callByFetch, create, serve };
