// Publishes messages and receives them again with nats.js: client.js PORT
//
// Prints what client.py prints.
const { connect, headers: makeHeaders, AckPolicy, StorageType } = require("nats");

const trace = (number) => `00-${number.toString(16).padStart(32, "0")}-${number.toString(16).padStart(16, "0")}-0${number % 2}`;

// Of every fourth message there are none.
function headers(number) {
  if (number % 4 === 0) return undefined;
  const made = makeHeaders();
  made.set("authorization", "secret");
  made.set("traceparent", trace(number));
  made.set("x-tenant-id", "acme");
  return made;
}

const body = (number) => `value ${number} `.repeat(number === 1 ? 800 : number === 3 ? 0 : 5);

const tell = (what, subject, found) => console.log(what, subject, found?.get("traceparent") || "-");

async function main(port) {
  const [publishing, consuming] = await Promise.all([1, 2].map(() => connect({ servers: `127.0.0.1:${port}` })));
  const orders = consuming.subscribe("orders.*", { max: 4 });
  await consuming.flush();
  for (let number = 1; number <= 4; number++) {
    publishing.publish("orders.new", body(number), { headers: headers(number) });
  }
  await publishing.flush();
  for (let number = 1; number <= 4; number++) tell("produced", "orders.new", headers(number));
  for await (const message of orders) tell("fetched", message.subject, message.headers);

  consuming.subscribe("stock.check", {
    callback: (_, message) => {
      tell("fetched", message.subject, message.headers);
      const answer = makeHeaders();
      answer.set("traceparent", trace(99));
      message.respond("answer", { headers: answer });
    },
  });
  await consuming.flush();
  for (let number = 5; number <= 6; number++) {
    await publishing.request("stock.check", "request", { headers: headers(number), timeout: 5000 });
    tell("produced", "stock.check", headers(number));
  }

  const manager = await publishing.jetstreamManager();
  await manager.streams.add({ name: "js-jobs", subjects: ["js.jobs.>"], storage: StorageType.Memory });
  await manager.consumers.add("js-jobs", { durable_name: "worker", ack_policy: AckPolicy.Explicit });
  for (let number = 9; number <= 12; number++) {
    await publishing.jetstream().publish("js.jobs.mail", body(number), { headers: headers(number) });
    tell("produced", "js.jobs.mail", headers(number));
  }
  const messages = await (await consuming.jetstream().consumers.get("js-jobs", "worker")).fetch({ max_messages: 4, expires: 5000 });
  for await (const message of messages) {
    tell("fetched", message.subject, message.headers);
    message.ack();
  }
  await manager.streams.delete("js-jobs");
  await consuming.drain();
  await publishing.drain();
}

main(process.argv[2]);
