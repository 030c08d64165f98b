// Produces records with each codec and fetches them again with @platformatic/kafka: platformatic.mjs PORT TOPIC CODEC...
// Prints what client.py prints.
import { Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'

const [port, topic, ...codecs] = process.argv.slice(2)
const options = (clientId) => ({ clientId, bootstrapBrokers: [`127.0.0.1:${port}`] })
const tell = (what, partition, trace) => console.log(what, topic, partition, trace ?? '-')

const producer = new Producer({ ...options('orders'), serializers: stringSerializers, acks: -1 })
for (const [number, codec] of codecs.entries()) {
  const messages = [0, 1, 2, 3].map((place) => {
    const id = number * 10 + place + 1
    const trace = `00-${id.toString(16).padStart(32, '0')}-${id.toString(16).padStart(16, '0')}-0${id % 2}`
    const headers = place < 3 ? { traceparent: trace, authorization: 'secret', 'x-tenant-id': 'acme' } : undefined
    return { topic, partition: place % 2, value: `value ${id} `.repeat(8), headers }
  })
  await producer.send({ compression: codec, messages })
  for (const { partition, headers } of messages) tell('produced', partition, headers?.traceparent)
}
await producer.close()

const consumer = new Consumer({ ...options('billing'), groupId: `${topic}-billing`, deserializers: stringDeserializers, maxWaitTime: 500 })
const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false })
let left = 4 * codecs.length
for await (const message of stream) {
  tell('fetched', message.partition, message.headers.get('traceparent'))
  left -= 1
  if (left === 0) break
}
await consumer.close(true)
