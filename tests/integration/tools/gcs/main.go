// Command gcs serves Google Cloud Storage from memory until its standard input ends, with faults on demand.
// It prints its URL as its first line. POST /token answers as Google's token server does.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const token = `{"access_token": "anything", "token_type": "Bearer", "expires_in": 3600}`

func main() {
	address := flag.String("address", "127.0.0.1:0", "host and port; port 0 takes a free one")
	buckets := flag.String("buckets", "", "buckets to make, separated by commas")
	var faults faults
	flag.IntVar(&faults.unavailable, "unavailable", 0, "answer every Nth request with 503")
	flag.IntVar(&faults.cutReads, "cut_reads", 0, "cut the connection in the middle of every Nth download")
	flag.IntVar(&faults.cutWrites, "cut_writes", 0, "cut the connection in the middle of every Nth upload")
	flag.StringVar(&faults.remove, "delete_listed", "", "BUCKET/OBJECT to delete once it was listed")
	flag.StringVar(&faults.truncate, "truncate_listed", "", "BUCKET/OBJECT to cut to half its size once it was listed")
	flag.StringVar(&faults.replace, "replace_listed", "", "BUCKET/OBJECT to replace by twice its content once it was listed")
	flag.StringVar(&faults.replaceRead, "replace_read", "", "BUCKET/OBJECT to replace by twice its content once it was read")
	flag.IntVar(&faults.tooMany, "too_many", 0, "answer every Nth request with 429")
	flag.BoolVar(&faults.noRanges, "no_ranges", false, "answer a range with the whole object")
	flag.StringVar(&faults.createOnly, "create_only", "", "BUCKET/PREFIX below which objects can be created, all else is denied")
	milliseconds := flag.Int("delay_ms", 0, "let each request wait")
	flag.Parse()
	faults.delay = time.Duration(*milliseconds) * time.Millisecond

	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	storage, err := newStorage(url, strings.Split(*buckets, ","))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, token)
	})
	requests := &requestLog{Log: []string{}}
	mux.Handle("GET /log", requests)
	mux.Handle("/", requests.wrap(faults.wrap(storage, storage.HTTPHandler())))
	fmt.Println(url)
	go func() { log.Fatal(http.Serve(listener, mux)) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func newStorage(url string, buckets []string) (*fakestorage.Server, error) {
	storage, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener: true, ExternalURL: url, PublicHost: strings.TrimPrefix(url, "http://"), Scheme: "http",
	})
	if err != nil {
		return nil, err
	}
	for _, bucket := range buckets {
		if bucket != "" {
			storage.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
		}
	}
	return storage, nil
}
