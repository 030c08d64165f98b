// Loaded into the service of the laboratory that is one event loop: a timer of its own asks everybody for news, without any context.
'use strict';

const net = require('node:net');

for (const peer of process.env.CALLS.split(',').filter(Boolean)) {
  const at = new URL(process.env[`URL_${peer.toUpperCase()}`]);
  let socket;
  const connect = () => {
    socket = net.connect(Number(at.port), at.hostname);
    socket.on('error', () => {});
    socket.on('data', () => {});
    // The peer may begin later.
    socket.on('close', () => setTimeout(connect, 100));
  };
  connect();
  setInterval(() => {
    if (socket.readyState === 'open') socket.write(`GET /news HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`);
  }, 20);
}
