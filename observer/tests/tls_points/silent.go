// A program that does no TLS.
package main

func main() {
	println("hello")
}
