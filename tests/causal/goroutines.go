// A service of the laboratory with a goroutine for each request, which instruments its calls by hand.
//
// MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:
//
//	loses-last  calls the last peer in a goroutine that does not know the context
//	polls       the first request starts a poller that asks the last peer for news, without a context, for ever
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
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
	manner  = "," + os.Getenv("MANNER") + ","
	peers   = strings.FieldsFunc(os.Getenv("CALLS"), func(r rune) bool { return r == ',' })
	client  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	poller  sync.Once
	file    *os.File
	writing sync.Mutex
)

func has(name string) bool { return strings.Contains(manner, ","+name+",") }

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

func carried(from http.Header) headers {
	if context := from.Get("traceparent"); context != "" {
		return headers{"traceparent": context}
	}
	return headers{}
}

// The same trace with a parent of its own.
func childOf(context string) string {
	parent := make([]byte, 8)
	_, err := rand.Read(parent)
	must(err)
	fields := strings.Split(context, "-")
	fields[2] = hex.EncodeToString(parent)
	return strings.Join(fields, "-")
}

func call(peer, path string, cause headers, knows bool) {
	request, err := http.NewRequest("GET", os.Getenv("URL_"+strings.ToUpper(peer))+path, nil)
	must(err)
	if context := cause["traceparent"]; knows && context != "" {
		request.Header.Set("traceparent", childOf(context))
	}
	at := time.Now().UnixNano()
	answer, err := client.Do(request)
	must(err)
	_, err = io.Copy(io.Discard, answer.Body)
	must(err)
	answer.Body.Close()
	write(record{"out", at, path, peer, carried(request.Header), cause, answer.StatusCode})
}

func work(answer http.ResponseWriter, request *http.Request) {
	cause := carried(request.Header)
	write(record{"in", time.Now().UnixNano(), request.URL.Path, "", cause, nil, 200})
	if has("polls") {
		poller.Do(func() {
			go func() {
				for {
					call(peers[len(peers)-1], "/news", headers{}, false)
					time.Sleep(20 * time.Millisecond)
				}
			}()
		})
	}
	for place, peer := range peers {
		if place < len(peers)-1 || !has("loses-last") {
			call(peer, "/work", cause, true)
			continue
		}
		done := make(chan bool)
		go func() {
			call(peer, "/work", cause, false)
			close(done)
		}()
		<-done
	}
	time.Sleep(10 * time.Millisecond)
	_, _ = io.WriteString(answer, "done")
}

func main() {
	var err error
	file, err = os.OpenFile(os.Getenv("TRUTH_FILE"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(err)
	go func() {
		// Standard input is a pipe that only the parent holds.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/work", work)
	http.HandleFunc("/news", func(http.ResponseWriter, *http.Request) {})
	listener, err := net.Listen("tcp", os.Getenv("LISTEN"))
	must(err)
	must(http.Serve(listener, nil))
}
