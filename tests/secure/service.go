// A service over TLS in Go; its arguments, files and log are those of service.py, but it is no customer. CLIENT and SERVER are `http1` or `http2`, which ALPN
// then chooses.
package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type headers map[string]string

type record struct {
	Kind    string  `json:"kind"`
	At      int64   `json:"at_ns"`
	Path    string  `json:"path"`
	Peer    string  `json:"peer"`
	Headers headers `json:"headers"`
	Cause   headers `json:"cause"`
	Status  int     `json:"status"`
}

var (
	logged           = []string{"traceparent", "x-tenant-id"}
	listen, next     string
	peer             string
	file             *os.File
	writing          sync.Mutex
	client           *http.Client
	asks             = os.Getenv("CLIENT")
	certificate, key = os.Getenv("CERTIFICATE"), os.Getenv("KEY")
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func write(r record) {
	line, err := json.Marshal(r)
	must(err)
	writing.Lock()
	defer writing.Unlock()
	_, err = file.Write(append(line, '\n'))
	must(err)
}

func random(bytes int) string {
	id := make([]byte, bytes)
	_, err := rand.Read(id)
	must(err)
	return hex.EncodeToString(id)
}

func onwards(path string, cause headers) headers {
	sent := headers{}
	for name, value := range cause {
		sent[name] = value
	}
	if path == "/loses" {
		delete(sent, "traceparent")
	} else if parent, ok := sent["traceparent"]; ok {
		fields := strings.Split(parent, "-")
		fields[2] = random(8)
		sent["traceparent"] = strings.Join(fields, "-")
	}
	return sent
}

func call(path string, sent, cause headers) {
	request, err := http.NewRequest("GET", "https://"+next+path, nil)
	must(err)
	for name, value := range sent {
		request.Header.Set(name, value)
	}
	at := time.Now().UnixNano()
	answer, err := client.Do(request)
	must(err)
	body, err := io.ReadAll(answer.Body)
	must(err)
	answer.Body.Close()
	if answer.StatusCode != 200 || len(body) != 3000 || answer.ProtoMajor != map[string]int{"http1": 1, "http2": 2}[asks] {
		log.Fatal(answer)
	}
	write(record{"out", at, path, peer, sent, cause, 200})
}

func serve(answer http.ResponseWriter, request *http.Request) {
	cause := headers{}
	for _, name := range logged {
		if value := request.Header.Get(name); value != "" {
			cause[name] = value
		}
	}
	write(record{"in", time.Now().UnixNano(), request.URL.Path, "", cause, nil, 200})
	if next != "-" {
		call(request.URL.Path, onwards(request.URL.Path, cause), cause)
	}
	answer.Header().Set("content-length", "3000")
	_, err := answer.Write([]byte(strings.Repeat("x", 3000)))
	must(err)
}

func main() {
	listen, next, peer = os.Args[2], os.Args[3], os.Args[4]
	var err error
	file, err = os.Create(os.Args[5])
	must(err)
	trusted := x509.NewCertPool()
	text, err := os.ReadFile(certificate)
	must(err)
	trusted.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: asks == "http2"}
	client = &http.Client{Transport: transport}
	server := &http.Server{Addr: listen, Handler: http.HandlerFunc(serve)}
	if os.Getenv("SERVER") == "http1" {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	listener, err := net.Listen("tcp", listen)
	must(err)
	fmt.Println("ready")
	must(server.ServeTLS(listener, certificate, key))
}
