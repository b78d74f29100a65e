// Command pubsub serves Pub/Sub from memory until its standard input ends. It prints its address as its first line.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	port := flag.Int("port", 0, "port on localhost; 0 takes a free one")
	flag.Parse()
	server := pstest.NewServerWithPort(*port)
	defer func() {
		if err := server.Close(); err != nil {
			log.Print(err)
		}
	}()
	fmt.Println(server.Addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
