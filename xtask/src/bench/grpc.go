// A gRPC server, and a client that calls it as fast as it answers.
//
//	grpc serve                                        prints "port N"; then, for each line that comes in, the calls served so far
//	grpc call ADDRESS SECONDS CONNECTIONS AT_ONCE SEED  calls, AT_ONCE at a time over each connection, and prints
//	                                                  "counted CALLS MICROSECONDS ERRORS"
//
// Each call has a trace id of its own; one trace in ten is sampled.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Bytes of a message each way.
const messageBytes = 100

var tenants = []string{"acme", "globex", "initech", "umbrella"}

// Messages are bytes, sent as they are.
type raw struct{}

func (raw) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(bytes []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte(nil), bytes...)
	return nil
}

func (raw) Name() string   { return "proto" }
func (raw) String() string { return "proto" }

var served uint64

func add(_ interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	var message []byte
	if err := decode(&message); err != nil {
		return nil, err
	}
	atomic.AddUint64(&served, 1)
	return &message, nil
}

func serve() {
	server := grpc.NewServer(grpc.CustomCodec(raw{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.Cart",
		HandlerType: (*interface{})(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Add", Handler: add}},
	}, struct{}{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(atomic.LoadUint64(&served))
		}
	}()
	must(server.Serve(listener))
}

// What a customer's instrumentation sends along.
func traced(source *rand.Rand) context.Context {
	var ids [24]byte
	source.Read(ids[:])
	flags := "-00"
	if source.Intn(10) == 0 {
		flags = "-01"
	}
	parent := "00-" + hex.EncodeToString(ids[:16]) + "-" + hex.EncodeToString(ids[16:]) + flags
	headers := metadata.Pairs("traceparent", parent, "x-tenant-id", tenants[source.Intn(len(tenants))])
	return metadata.NewOutgoingContext(context.Background(), headers)
}

func call(address string, seconds, connections, atOnce, seed int) {
	channels := make([]*grpc.ClientConn, connections)
	for at := range channels {
		channel, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithBlock(),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		must(err)
		channels[at] = channel
	}
	var calls, failed uint64
	var callers sync.WaitGroup
	begin := time.Now()
	end := begin.Add(time.Duration(seconds) * time.Second)
	for at := 0; at < connections*atOnce; at++ {
		callers.Add(1)
		go func(channel *grpc.ClientConn, source *rand.Rand) {
			defer callers.Done()
			request := make([]byte, messageBytes)
			var done, errors uint64
			for time.Now().Before(end) {
				var response []byte
				if err := channel.Invoke(traced(source), "/shop.Cart/Add", &request, &response); err != nil {
					errors++
				} else {
					done++
				}
			}
			atomic.AddUint64(&calls, done)
			atomic.AddUint64(&failed, errors)
		}(channels[at%connections], rand.New(rand.NewSource(int64(seed)<<16+int64(at))))
	}
	callers.Wait()
	fmt.Println("counted", calls, time.Since(begin).Microseconds(), failed)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	if os.Args[1] == "serve" {
		serve()
		return
	}
	var numbers [4]int
	for at := range numbers {
		number, err := strconv.Atoi(os.Args[3+at])
		must(err)
		numbers[at] = number
	}
	call(os.Args[2], numbers[0], numbers[1], numbers[2], numbers[3])
}
