// A service that is called over gRPC, and calls the next one over a connection that it keeps, as calls.py does.
//
//	calls NAME LISTEN NEXT PEER LOG
//
// Every call is passed on to NEXT ("-": answered here), but for the context, which it carries on as instrumentation does.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
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
	record.At = time.Now().UnixNano()
	must(s.log.Encode(record))
}

// As the client of a stream and its server: each sends what it likes, when it likes.
var streams = grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

var errToldTo = status.Error(codes.Internal, "as it was told to")

func (s *service) serve(_ interface{}, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	method := path[strings.LastIndex(path, "/")+1:]
	incoming, _ := metadata.FromIncomingContext(stream.Context())
	received := headers{}
	for _, name := range []string{"traceparent", "x-tenant-id"} {
		if values := incoming.Get(name); len(values) > 0 {
			received[name] = values[0]
		}
	}
	answer := 200
	if s.next == nil && (method == "Fails" || method == "Breaks" || method == "Quits") {
		answer = 500
	}
	s.write(line{Kind: "in", Path: path, Headers: received, Status: answer})
	if s.next != nil {
		return s.passOn(method, received, stream)
	}
	return answerAs(method, stream)
}

// What the last service answers.
func answerAs(method string, stream grpc.ServerStream) error {
	if method == "Breaks" {
		// The head of the response is under way when the call fails; else its only head tells the status.
		must(stream.SendHeader(nil))
	}
	if method == "Fails" || method == "Breaks" {
		return errToldTo
	}
	gathered := []byte{}
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		gathered = append(gathered, message...)
		answers := 1
		if method == "Gathers" {
			answers = 0
		} else if method == "Pours" {
			answers = 5
		}
		for ; answers > 0; answers-- {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}
	if method == "Quits" {
		return errToldTo
	}
	if method == "Gathers" {
		return stream.SendMsg(&gathered)
	}
	return nil
}

// Calls the next service and answers as it does; a call that fails as it was told to has ended.
func (s *service) passOn(method string, cause headers, from grpc.ServerStream) error {
	onwards := headers{"x-tenant-id": cause["x-tenant-id"]}
	unary := method == "Works" || method == "Loses" || method == "Fails" || method == "Breaks"
	if method == "Loses" {
		method = "Works"
	} else {
		fields := strings.Split(cause["traceparent"], "-")
		span := make([]byte, 8)
		_, err := rand.Read(span)
		must(err)
		fields[2] = hex.EncodeToString(span)
		onwards["traceparent"] = strings.Join(fields, "-")
	}
	path := "/shop.Back/" + method
	s.write(line{Kind: "out", Path: path, Headers: onwards, Status: 200, Peer: s.peer, Cause: cause})
	outgoing := metadata.NewOutgoingContext(from.Context(), metadata.New(onwards))
	to, err := s.next.NewStream(outgoing, &streams, path)
	if err != nil {
		return err
	}
	go func() {
		for {
			var message []byte
			if from.RecvMsg(&message) != nil || to.SendMsg(&message) != nil {
				break
			}
		}
		_ = to.CloseSend()
	}()
	for answered := false; ; answered = true {
		var message []byte
		if err := to.RecvMsg(&message); err == nil {
			if err := from.SendMsg(&message); err != nil {
				return err
			}
		} else if err == io.EOF || status.Code(err) == codes.Internal {
			if unary && !answered {
				return from.SendMsg(&[]byte{})
			}
			return nil
		} else {
			return err
		}
	}
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
	client, secure := grpc.WithInsecure(), []grpc.ServerOption{}
	// Files; with them everything goes over TLS.
	if certificate, key := os.Getenv("CERTIFICATE"), os.Getenv("KEY"); certificate != "" {
		trusted, err := credentials.NewClientTLSFromFile(certificate, "")
		must(err)
		client = grpc.WithTransportCredentials(trusted)
		own, err := credentials.NewServerTLSFromFile(certificate, key)
		must(err)
		secure = append(secure, grpc.Creds(own))
	}
	own := &service{peer: peer, log: json.NewEncoder(file)}
	if next != "-" {
		own.next, err = grpc.Dial(next, client, grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		must(err)
	}
	listener, err := net.Listen("tcp", listen)
	must(err)
	server := grpc.NewServer(append(secure, grpc.CustomCodec(raw{}), grpc.UnknownServiceHandler(own.serve))...)
	fmt.Println("ready")
	must(server.Serve(listener))
}
