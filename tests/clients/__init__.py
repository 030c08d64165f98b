"""Clients of brokers, a library in each file. A Client has these:

    PROTOCOL                      what the broker speaks
    start_producing()
    send(kind, topic, records)    sends a record of the topic with each of these headers, and waits until the broker has them
    work(manner, ready, handle)   says that it is ready once no record is missed any more, and has each one handled, with the
                                  topic and the headers
"""


class Puller:
    """A Client that start_consuming() makes ready, and that tells the topic and the headers of each record by records()."""

    def work(self, _, ready, handle):
        self.start_consuming()
        ready()
        for topic, headers in self.records():
            handle(topic, headers)
