// A service of the laboratory with a goroutine for each request: net/http at both ends, the SDK of OpenTelemetry by hand, as its
// instrumentation does it.
//
// MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:
//
//	background        calls with context.Background(), so that the SDK begins a trace
//	no-propagator     no propagator was set, which is the SDK's default
//	ignores-parent    the sampler asks nobody what was decided
//	goroutines        calls in goroutines that take the context along
//	no-baggage        baggage is not among the propagators
//	drops-tracestate  the tracestate does not go on
//	drops-weight      nor does the weight
//	changes-weight    the weight is another one
//	proxy             calls without the SDK; the headers of the request go on as they came, but for those named drops-…
//	drops-context     of a proxy: no trace header goes on
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
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
	logged  = []string{"traceparent", "tracestate", "baggage", "x-tenant-id", "x-trace-weight"}
	manner  = "," + os.Getenv("MANNER") + ","
	peers   = strings.FieldsFunc(os.Getenv("CALLS"), func(r rune) bool { return r == ',' })
	client  = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	file    *os.File
	writing sync.Mutex
	tracer  trace.Tracer
)

func has(name string) bool { return strings.Contains(manner, ","+name+",") }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func kept(from http.Header) headers {
	found := headers{}
	for _, name := range logged {
		if value := from.Get(name); value != "" {
			found[name] = value
		}
	}
	return found
}

func write(r record) {
	line, err := json.Marshal(r)
	must(err)
	writing.Lock()
	defer writing.Unlock()
	_, err = file.Write(append(line, '\n'))
	must(err)
}

func call(ctx context.Context, peer string, cause headers) {
	ctx, span := tracer.Start(ctx, "call", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	request, err := http.NewRequestWithContext(ctx, "GET", os.Getenv("URL_"+strings.ToUpper(peer))+"/work", nil)
	must(err)
	if has("proxy") {
		for name, value := range cause {
			if name != "traceparent" || !has("drops-context") {
				request.Header.Set(name, value)
			}
		}
	} else {
		otel.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(request.Header))
		if weight := cause["x-trace-weight"]; weight != "" {
			request.Header.Set("x-trace-weight", weight)
		}
	}
	if has("drops-tracestate") {
		request.Header.Del("tracestate")
	}
	if has("drops-weight") {
		request.Header.Del("x-trace-weight")
	}
	if has("changes-weight") {
		request.Header.Set("x-trace-weight", "0.25")
	}
	at := time.Now().UnixNano()
	answer, err := client.Do(request)
	must(err)
	_, err = io.Copy(io.Discard, answer.Body)
	must(err)
	answer.Body.Close()
	write(record{"out", at, "/work", peer, kept(request.Header), cause, answer.StatusCode})
}

func work(answer http.ResponseWriter, request *http.Request) {
	cause := kept(request.Header)
	write(record{"in", time.Now().UnixNano(), request.URL.Path, "", cause, nil, 200})
	ctx := otel.GetTextMapPropagator().Extract(request.Context(), propagation.HeaderCarrier(request.Header))
	ctx, span := tracer.Start(ctx, "work", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	if has("background") {
		ctx = context.Background()
	}
	var calls sync.WaitGroup
	for _, peer := range peers {
		if !has("goroutines") {
			call(ctx, peer, cause)
			continue
		}
		calls.Add(1)
		go func(peer string) {
			defer calls.Done()
			call(ctx, peer, cause)
		}(peer)
	}
	calls.Wait()
	_, _ = io.WriteString(answer, "done")
}

func main() {
	var err error
	file, err = os.OpenFile(os.Getenv("TRUTH_FILE"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(err)
	sampler := sdk.TraceIDRatioBased(0.5)
	if !has("ignores-parent") {
		sampler = sdk.ParentBased(sampler)
	}
	otel.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSampler(sampler)))
	if !has("no-propagator") {
		propagators := []propagation.TextMapPropagator{propagation.TraceContext{}}
		if !has("no-baggage") {
			propagators = append(propagators, propagation.Baggage{})
		}
		otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagators...))
	}
	tracer = otel.Tracer("laboratory")
	go func() {
		// Standard input is a pipe that only the parent holds.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	http.HandleFunc("/healthz", func(answer http.ResponseWriter, _ *http.Request) {})
	http.HandleFunc("/work", work)
	listener, err := net.Listen("tcp", os.Getenv("LISTEN"))
	must(err)
	must(http.Serve(listener, nil))
}
