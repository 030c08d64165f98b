// Publishes messages over two channels of one connection and consumes them again: client.js PORT
//
// Prints what client.py prints.
const amqp = require("amqplib");

const ROUTES = [["", "js.jobs", "js.jobs"], ["js.shop", "js.orders", "js.shop"]];
const TRACES = 4;

const trace = (number) => `00-${number.toString(16).padStart(32, "0")}-${number.toString(16).padStart(16, "0")}-0${number % 2}`;

const headers = (number) =>
  number % TRACES === 0
    ? {}
    : {
        count: number, large: 2 ** 40, share: 0.5, ok: true, nothing: null, bytes: Buffer.from("traceparent"),
        nested: { traceparent: "never sent", list: [1, "two", { "x-tenant-id": "nobody" }] },
        authorization: "secret", traceparent: trace(number), "x-tenant-id": "acme",
      };

const tell = (what, topic, found) => console.log(what, topic, found?.traceparent?.toString() ?? "-");

async function main(port) {
  const connection = await amqp.connect(`amqp://guest:guest@127.0.0.1:${port}/?frameMax=8192`);
  const channels = await Promise.all(ROUTES.map(() => connection.createConfirmChannel()));
  for (const [at, [exchange, queue]] of ROUTES.entries()) {
    await channels[at].assertQueue(queue, { autoDelete: true });
    if (exchange) {
      await channels[at].assertExchange(exchange, "direct", { autoDelete: true });
      await channels[at].bindQueue(queue, exchange, queue);
    }
  }
  for (let number = 1; number <= TRACES; number++) {
    for (const [at, [exchange, queue, topic]] of ROUTES.entries()) {
      const id = number + at * TRACES;
      const body = Buffer.from(`value ${id} `.repeat(id === 2 ? 1200 : 5));
      channels[at].publish(exchange, queue, body, { headers: headers(id), contentType: "text/plain" }, (error) =>
        tell(error ? `failed ${error}` : "produced", topic, headers(id)));
    }
  }
  await Promise.all(channels.map((channel) => channel.waitForConfirms()));
  const consuming = await amqp.connect(`amqp://guest:guest@127.0.0.1:${port}`);
  const channel = await consuming.createChannel();
  for (const [, queue, topic] of ROUTES) {
    let seen = 0;
    await new Promise((done) =>
      channel.consume(queue, (message) => {
        tell("fetched", topic, message.properties.headers);
        channel.ack(message);
        if (++seen === TRACES) done();
      }));
  }
  await consuming.close();
  await connection.close();
}

main(process.argv[2]);
