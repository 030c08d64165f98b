// A program that serves and calls by net/http: at its first argument it is asked what it passes on to its second. A path that begins with
// /born is passed on by another goroutine than the one that was asked.
package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

func main() {
	to, err := url.Parse(os.Args[2])
	if err != nil {
		panic(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	passOn := func(answer http.ResponseWriter, request *http.Request) {
		if !strings.HasPrefix(request.URL.Path, "/born") {
			proxy.ServeHTTP(answer, request)
			return
		}
		done := make(chan bool)
		go func() {
			proxy.ServeHTTP(answer, request)
			close(done)
		}()
		<-done
	}
	panic(http.ListenAndServe(os.Args[1], http.HandlerFunc(passOn)))
}
