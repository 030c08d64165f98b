// A service that is called over gRPC, and calls the next one over a connection that it keeps, as calls.py does.
//
//	calls NAME LISTEN NEXT PEER LOG
//
// Every call is passed on to NEXT ("-": nobody), but for the context, which it carries on as instrumentation does.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Messages are bytes, sent as they are.
type raw struct{}

func (raw) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(bytes []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte(nil), bytes...)
	return nil
}

func (raw) Name() string   { return "proto" }
func (raw) String() string { return "proto" }

type headers map[string]string

type line struct {
	Kind    string  `json:"kind"`
	At      int64   `json:"at_ns"`
	Path    string  `json:"path"`
	Headers headers `json:"headers"`
	Status  int     `json:"status"`
	Peer    string  `json:"peer,omitempty"`
	Cause   headers `json:"cause,omitempty"`
}

type service struct {
	next    *grpc.ClientConn
	peer    string
	log     *json.Encoder
	writing sync.Mutex
}

func (s *service) write(record line) {
	s.writing.Lock()
	defer s.writing.Unlock()
	must(s.log.Encode(record))
}

func (s *service) serve(_ interface{}, stream grpc.ServerStream) error {
	at := time.Now().UnixNano()
	path, _ := grpc.MethodFromServerStream(stream)
	incoming, _ := metadata.FromIncomingContext(stream.Context())
	received := headers{}
	for _, name := range []string{"traceparent", "x-tenant-id"} {
		if values := incoming.Get(name); len(values) > 0 {
			received[name] = values[0]
		}
	}
	fails := strings.HasSuffix(path, "Back/Fails")
	answer := 200
	if fails {
		answer = 500
	}
	s.write(line{Kind: "in", At: at, Path: path, Headers: received, Status: answer})
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	if fails {
		return status.Error(codes.Internal, "as it was told to")
	}
	if s.next != nil {
		s.call(path, received)
	}
	return stream.SendMsg(&message)
}

func (s *service) call(path string, cause headers) {
	onwards := headers{"x-tenant-id": cause["x-tenant-id"]}
	if !strings.HasSuffix(path, "Front/Loses") {
		fields := strings.Split(cause["traceparent"], "-")
		span := make([]byte, 8)
		_, err := rand.Read(span)
		must(err)
		fields[2] = hex.EncodeToString(span)
		onwards["traceparent"] = strings.Join(fields, "-")
	}
	to := "/shop.Back/Works"
	if strings.HasSuffix(path, "Front/Fails") {
		to = "/shop.Back/Fails"
	}
	at := time.Now().UnixNano()
	request, response := []byte("0123456789"), []byte{}
	outgoing := metadata.NewOutgoingContext(context.Background(), metadata.New(onwards))
	if err := s.next.Invoke(outgoing, to, &request, &response); err != nil && status.Code(err) != codes.Internal {
		must(err)
	}
	s.write(line{Kind: "out", At: at, Path: to, Headers: onwards, Status: 200, Peer: s.peer, Cause: cause})
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	listen, next, peer, path := os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	file, err := os.Create(path)
	must(err)
	own := &service{peer: peer, log: json.NewEncoder(file)}
	if next != "-" {
		own.next, err = grpc.Dial(next, grpc.WithInsecure(), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		must(err)
	}
	listener, err := net.Listen("tcp", listen)
	must(err)
	server := grpc.NewServer(grpc.CustomCodec(raw{}), grpc.UnknownServiceHandler(own.serve))
	fmt.Println("ready")
	must(server.Serve(listener))
}
