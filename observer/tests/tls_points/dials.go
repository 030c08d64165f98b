// A program that does TLS: it asks the server at its argument for a page.
package main

import (
	"crypto/tls"
	"fmt"
	"os"
)

func main() {
	conn, err := tls.Dial("tcp", os.Args[1], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
	page := make([]byte, 4096)
	n, _ := conn.Read(page)
	os.Stdout.Write(page[:n])
}
