"""RQ: rq_shop.py PORT enqueues jobs and works them off, in the three ways in which workers take them.

Prints `produced` or `fetched`, the queue and `?` for every job: RQ has no headers.
"""

import sys

import redis
import rq

connection = redis.Redis(port=int(sys.argv[1]), protocol=2)
queue = rq.Queue("colours", connection=connection)


class Worker(rq.SimpleWorker):
    def clean_registries(self) -> None:
        pass

    def execute_job(self, job, queue):
        print("fetched", queue.name, "?", flush=True)
        return super().execute_job(job, queue)


def enqueue(**options) -> None:
    queue.enqueue("time.sleep", 0, **options)
    print("produced", queue.name, "?", flush=True)


for names, options in [(["urgent", "colours"], {"burst": True}), (["urgent", "colours"], {}), (["colours"], {})]:
    enqueue()
    Worker(names, connection=connection).work(max_jobs=1, logging_level="ERROR", **options)
with connection.pipeline() as pipe:
    for _ in queue.enqueue_many([rq.Queue.prepare_data("time.sleep", (0,)) for _ in range(2)], pipeline=pipe):
        print("produced", queue.name, "?", flush=True)
    pipe.execute()
enqueue(at_front=True)
