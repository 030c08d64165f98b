// Produces records with each codec and fetches them again: client LIBRARY PORT TOPIC CODEC..., LIBRARY sarama or kafka-go.
// Prints what client.py prints.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
)

const partitions = 2

type record struct {
	partition int
	value     string
	trace     string
}

// What is produced with one codec: the last one has no headers.
func records(codec int) []record {
	var all []record
	for place := 0; place < 4; place++ {
		id := codec*10 + place + 1
		one := record{partition: place % partitions, value: strings.Repeat(fmt.Sprintf("value %d ", id), 8)}
		if place < 3 {
			one.trace = fmt.Sprintf("00-%032x-%016x-0%d", id, id, id%2)
		}
		all = append(all, one)
	}
	return all
}

func tell(what, topic string, partition int, trace string) {
	if trace == "" {
		trace = "-"
	}
	fmt.Println(what, topic, partition, trace)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func withSarama(broker, topic string, codecs []string) {
	config := sarama.NewConfig()
	config.ClientID = "orders"
	config.Version = sarama.V2_8_0_0
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Flush.Messages = 2
	config.Producer.Flush.Frequency = 100 * time.Millisecond
	for number, codec := range codecs {
		check(config.Producer.Compression.UnmarshalText([]byte(codec)))
		producer, err := sarama.NewSyncProducer([]string{broker}, config)
		check(err)
		var messages []*sarama.ProducerMessage
		for _, one := range records(number) {
			message := &sarama.ProducerMessage{Topic: topic, Partition: int32(one.partition), Value: sarama.StringEncoder(one.value), Metadata: one.trace}
			if one.trace != "" {
				for _, header := range [][2]string{{"traceparent", one.trace}, {"authorization", "secret"}, {"x-tenant-id", "acme"}} {
					message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header[0]), Value: []byte(header[1])})
				}
			}
			messages = append(messages, message)
		}
		check(producer.SendMessages(messages))
		for _, message := range messages {
			tell("produced", message.Topic, int(message.Partition), message.Metadata.(string))
		}
		check(producer.Close())
	}
	config.ClientID = "billing"
	consumer, err := sarama.NewConsumer([]string{broker}, config)
	check(err)
	for partition := 0; partition < partitions; partition++ {
		from, err := consumer.ConsumePartition(topic, int32(partition), sarama.OffsetOldest)
		check(err)
		for left := 2 * len(codecs); left > 0; left-- {
			message := <-from.Messages()
			trace := ""
			for _, header := range message.Headers {
				if string(header.Key) == "traceparent" {
					trace = string(header.Value)
				}
			}
			tell("fetched", message.Topic, int(message.Partition), trace)
		}
		check(from.Close())
	}
	check(consumer.Close())
}

func withKafkaGo(broker, topic string, codecs []string) {
	compression := map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	ctx := context.Background()
	for number, codec := range codecs {
		writer := &kafka.Writer{
			Addr: kafka.TCP(broker), Topic: topic, BatchSize: 2, BatchTimeout: 100 * time.Millisecond, Compression: compression[codec],
			RequiredAcks: kafka.RequireOne, Transport: &kafka.Transport{ClientID: "orders"},
			Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int { return message.WriterData.(record).partition }),
		}
		var messages []kafka.Message
		for _, one := range records(number) {
			message := kafka.Message{Value: []byte(one.value), WriterData: one}
			if one.trace != "" {
				for _, header := range [][2]string{{"traceparent", one.trace}, {"authorization", "secret"}, {"x-tenant-id", "acme"}} {
					message.Headers = append(message.Headers, kafka.Header{Key: header[0], Value: []byte(header[1])})
				}
			}
			messages = append(messages, message)
		}
		check(writer.WriteMessages(ctx, messages...))
		for _, one := range records(number) {
			tell("produced", topic, one.partition, one.trace)
		}
		check(writer.Close())
	}
	for partition := 0; partition < partitions; partition++ {
		dialer := &kafka.Dialer{ClientID: "billing", Timeout: 10 * time.Second}
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, Partition: partition, Dialer: dialer, MaxWait: 500 * time.Millisecond, MaxBytes: 1 << 20})
		for left := 2 * len(codecs); left > 0; left-- {
			message, err := reader.ReadMessage(ctx)
			check(err)
			trace := ""
			for _, header := range message.Headers {
				if header.Key == "traceparent" {
					trace = string(header.Value)
				}
			}
			tell("fetched", message.Topic, message.Partition, trace)
		}
		check(reader.Close())
	}
}

func main() {
	broker, topic, codecs := "127.0.0.1:"+os.Args[2], os.Args[3], os.Args[4:]
	if os.Args[1] == "sarama" {
		withSarama(broker, topic, codecs)
	} else {
		withKafkaGo(broker, topic, codecs)
	}
}
