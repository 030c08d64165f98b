"""AMQP 0-9-1 by pika. A kind of record goes to a queue through the default exchange (queue), or to an exchange (exchange)."""

import pika

from . import Puller


class Client(Puller):
    PROTOCOL = "amqp"

    def __init__(self, broker):
        host, port = broker.split(":")
        # What is not read in time must not end the connection while a customer is slow.
        self.channel = pika.BlockingConnection(pika.ConnectionParameters(host, int(port), heartbeat=0)).channel()

    def start_producing(self):
        self.channel.confirm_delivery()

    def send(self, kind, topic, records):
        exchange, key = ("", topic) if kind == "queue" else (topic, "an.order")
        for headers in records:
            properties = pika.BasicProperties(headers=headers or None)
            self.channel.basic_publish(exchange, key, b"an order of the shop", properties, mandatory=True)

    def start_consuming(self):
        self.channel.queue_declare("orders-queue")
        self.channel.exchange_declare("orders-exchange", "topic")
        self.channel.queue_declare("billing")
        self.channel.queue_bind("billing", "orders-exchange", "an.*")
        self.arrived = []
        for queue in ("orders-queue", "billing"):
            self.channel.basic_consume(queue, lambda *record: self.arrived.append(record[1:3]))

    def records(self):
        while True:
            self.channel.connection.process_data_events(None)
            arrived, self.arrived = self.arrived, []
            for method, properties in arrived:
                yield method.exchange or method.routing_key, properties.headers or {}
                self.channel.basic_ack(method.delivery_tag)
