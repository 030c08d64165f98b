// BullMQ: bullmq.js PORT adds jobs and works them off. Prints `produced` or `fetched`, queue and `?` for every job.

const { Queue, Worker } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.argv[2]) };
const queue = new Queue('colours', { connection });
let left = 3;
const worker = new Worker('colours', async () => {
  console.log('fetched bull:colours ?');
  left -= 1;
  if (left === 0) setImmediate(() => worker.close().then(() => queue.close()));
}, { connection });

async function add(...jobs) {
  await queue.addBulk(jobs.map((colour) => ({ name: 'paint', data: { colour } })));
  for (const _ of jobs) console.log('produced bull:colours ?');
}

worker.waitUntilReady().then(() => add('red')).then(() => add('blue', 'green'));
