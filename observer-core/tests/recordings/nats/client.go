// Publishes messages and receives them again with nats.go: client PORT. Prints what client.py prints.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Of every fourth message there are no headers.
func message(subject string, number int) *nats.Msg {
	made := nats.NewMsg(subject)
	made.Data = []byte(strings.Repeat(fmt.Sprintf("value %d ", number), 5))
	if number%4 != 0 {
		made.Header["authorization"] = []string{"secret"}
		made.Header["Traceparent"] = []string{fmt.Sprintf("00-%032x-%016x-0%d", number, number, number%2)}
		made.Header["X-Tenant-Id"] = []string{"acme"}
	}
	return made
}

func tell(what string, message *nats.Msg) {
	trace := message.Header.Get("Traceparent")
	if trace == "" {
		trace = "-"
	}
	fmt.Println(what, message.Subject, trace)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	url := "nats://127.0.0.1:" + os.Args[1]
	publishing, err := nats.Connect(url)
	check(err)
	consuming, err := nats.Connect(url)
	check(err)
	orders, err := consuming.SubscribeSync("go.orders.*")
	check(err)
	check(consuming.Flush())
	for number := 1; number <= 4; number++ {
		sent := message("go.orders.new", number)
		check(publishing.PublishMsg(sent))
		tell("produced", sent)
		received, err := orders.NextMsg(5 * time.Second)
		check(err)
		tell("fetched", received)
	}
	_, err = consuming.Subscribe("go.stock.check", func(request *nats.Msg) {
		tell("fetched", request)
		answer := message(request.Reply, 99)
		check(request.RespondMsg(answer))
	})
	check(err)
	check(consuming.Flush())
	for number := 5; number <= 6; number++ {
		request := message("go.stock.check", number)
		_, err = publishing.RequestMsg(request, 5*time.Second)
		check(err)
		tell("produced", request)
	}
	stream, err := publishing.JetStream()
	check(err)
	_, err = stream.AddStream(&nats.StreamConfig{Name: "go-jobs", Subjects: []string{"go.jobs.>"}, Storage: nats.MemoryStorage})
	check(err)
	other, err := consuming.JetStream()
	check(err)
	consumer, err := other.PullSubscribe("go.jobs.>", "worker")
	check(err)
	for number := 9; number <= 12; number++ {
		sent := message("go.jobs.mail", number)
		_, err = stream.PublishMsg(sent)
		check(err)
		tell("produced", sent)
	}
	for seen := 0; seen < 4; {
		messages, err := consumer.Fetch(4-seen, nats.MaxWait(5*time.Second))
		check(err)
		for _, received := range messages {
			tell("fetched", received)
			check(received.Ack())
			seen++
		}
	}
	check(stream.DeleteStream("go-jobs"))
	consuming.Close()
	publishing.Close()
}
