// A service over TLS in Node; its arguments, files and log are those of service.py, but it is no customer. CLIENT is `https` or `http2`; SERVER is
// `https` or `http2` (which takes HTTP/1 as well, as ALPN says).
'use strict'

const crypto = require('node:crypto')
const fs = require('node:fs')
const http2 = require('node:http2')
const https = require('node:https')

const [, , , listen, next, peer, log] = process.argv
const { SERVER, CLIENT, CERTIFICATE, KEY } = process.env
const LOGGED = ['traceparent', 'x-tenant-id']
const out = fs.openSync(log, 'w')
const cert = fs.readFileSync(CERTIFICATE)

const now = () => BigInt(Date.now()) * 1000000n
const only = headers => Object.fromEntries(LOGGED.filter(name => name in headers).map(name => [name, headers[name]]))

function write (kind, at, path, headers, more) {
  const record = { kind, at_ns: 0, path, headers: only(headers), status: 200, ...more }
  fs.writeSync(out, JSON.stringify(record).replace('"at_ns":0', `"at_ns":${at}`) + '\n')
}

function onwards (path, cause) {
  const { traceparent, ...headers } = cause
  if (traceparent && path !== '/loses') {
    const [version, trace, , flags] = traceparent.split('-')
    headers.traceparent = [version, trace, crypto.randomBytes(8).toString('hex'), flags].join('-')
  }
  return headers
}

const agent = new https.Agent({ ca: cert, keepAlive: true, maxSockets: 1 })
let session

function body (stream) {
  return new Promise((resolve, reject) => {
    let length = 0
    stream.on('data', chunk => { length += chunk.length })
    stream.on('end', () => length === 3000 ? resolve() : reject(new Error(`${length} bytes`)))
    stream.on('error', reject)
  })
}

async function request (path, headers) {
  if (CLIENT === 'http2') {
    session ??= http2.connect(`https://${next}`, { ca: cert })
    const stream = session.request({ ':path': path, ...headers })
    stream.end()
    return body(stream)
  }
  const answer = await new Promise((resolve, reject) => {
    https.get(`https://${next}${path}`, { agent, headers }, resolve).on('error', reject)
  })
  return body(answer)
}

async function call (path, headers, cause) {
  const at = now()
  await request(path, headers)
  write('out', at, path, headers, { peer, cause })
}

async function answer (request, response) {
  const cause = only(request.headers)
  write('in', now(), request.url, cause)
  if (next !== '-') await call(request.url, onwards(request.url, cause), cause)
  response.writeHead(200, { 'content-length': 3000 })
  response.end('x'.repeat(3000))
}

const options = { cert, key: fs.readFileSync(KEY), allowHTTP1: true }
const server = SERVER === 'http2' ? http2.createSecureServer(options, answer) : https.createServer(options, answer)
const [host, port] = [listen.slice(0, listen.lastIndexOf(':')), listen.slice(listen.lastIndexOf(':') + 1)]
server.listen(Number(port), host, () => console.log('ready'))
