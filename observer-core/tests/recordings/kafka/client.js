// Produces records with each codec and fetches them again with kafkajs: client.js PORT TOPIC CODEC...
// Prints what client.py prints.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');
CompressionCodecs[CompressionTypes.LZ4] = new (require('kafkajs-lz4'))().codec;

const [port, topic, ...codecs] = process.argv.slice(2);
const types = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4 };
const client = (clientId) => new Kafka({ clientId, brokers: [`127.0.0.1:${port}`], logLevel: logLevel.ERROR });
const tell = (what, partition, trace) => console.log(what, topic, partition, trace ?? '-');

async function main() {
  const producer = client('orders').producer();
  await producer.connect();
  for (const [number, codec] of codecs.entries()) {
    const messages = [0, 1, 2, 3].map((place) => {
      const id = number * 10 + place + 1;
      const trace = `00-${id.toString(16).padStart(32, '0')}-${id.toString(16).padStart(16, '0')}-0${id % 2}`;
      const headers = place < 3 ? { traceparent: trace, authorization: 'secret', 'x-tenant-id': 'acme' } : undefined;
      return { partition: place % 2, value: `value ${id} `.repeat(8), headers };
    });
    await producer.send({ topic, compression: types[codec], messages });
    for (const { partition, headers } of messages) tell('produced', partition, headers?.traceparent);
  }
  await producer.disconnect();

  const consumer = client('billing').consumer({ groupId: `${topic}-billing`, maxWaitTimeInMs: 500 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let left = 4 * codecs.length;
  await new Promise((done) => consumer.run({
    eachMessage: async ({ partition, message }) => {
      tell('fetched', partition, message.headers.traceparent?.toString());
      left -= 1;
      if (left === 0) done();
    },
  }));
  await consumer.disconnect();
}

main().catch((error) => { console.error(error); process.exit(1); });
