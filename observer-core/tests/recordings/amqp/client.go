// Publishes messages and consumes them again: client PORT. Prints what client.py prints.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

const traces = 4

// Exchange, queue, and what a message is addressed to.
var routes = [][3]string{{"", "go.jobs", "go.jobs"}, {"go.shop", "go.orders", "go.shop"}}

// Of the last message of a route there are none.
func headers(number int) amqp091.Table {
	if number%traces == 0 {
		return nil
	}
	return amqp091.Table{
		"byte": byte(1), "short": int16(number), "count": int32(number), "large": int64(1) << 40, "real": float32(0.5),
		"share": 0.5, "ok": true, "nothing": nil, "decimal": amqp091.Decimal{Scale: 1, Value: 5}, "at": time.Unix(1767225600, 0),
		"bytes":         []byte("traceparent"),
		"nested":        amqp091.Table{"traceparent": "never sent", "list": []interface{}{"two", amqp091.Table{"x-tenant-id": "nobody"}}},
		"authorization": "secret", "x-tenant-id": "acme",
		"traceparent": fmt.Sprintf("00-%032x-%016x-0%d", number, number, number%2),
	}
}

func tell(what, topic string, found amqp091.Table) {
	trace, ok := found["traceparent"].(string)
	if !ok {
		trace = "-"
	}
	fmt.Println(what, topic, trace)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	url := "amqp://guest:guest@127.0.0.1:" + os.Args[1]
	publishing, err := amqp091.Dial(url)
	check(err)
	consuming, err := amqp091.Dial(url)
	check(err)
	channel, err := publishing.Channel()
	check(err)
	check(channel.Confirm(false))
	confirmed := channel.NotifyPublish(make(chan amqp091.Confirmation, 1))
	other, err := consuming.Channel()
	check(err)
	number := 0
	for _, route := range routes {
		exchange, queue, topic := route[0], route[1], route[2]
		_, err = channel.QueueDeclare(queue, false, true, false, false, nil)
		check(err)
		if exchange != "" {
			check(channel.ExchangeDeclare(exchange, "fanout", false, true, false, false, nil))
			check(channel.QueueBind(queue, "", exchange, false, nil))
		}
		for place := 0; place < traces; place++ {
			number++
			message := amqp091.Publishing{Headers: headers(number), Body: []byte(strings.Repeat("value ", 5)), AppId: "orders"}
			check(channel.Publish(exchange, queue, false, false, message))
			if !(<-confirmed).Ack {
				panic("not confirmed")
			}
			tell("produced", topic, headers(number))
		}
		messages, err := other.Consume(queue, "", false, false, false, false, nil)
		check(err)
		for place := 0; place < traces; place++ {
			message := <-messages
			tell("fetched", topic, message.Headers)
			check(message.Ack(false))
		}
	}
	check(consuming.Close())
	check(publishing.Close())
}
