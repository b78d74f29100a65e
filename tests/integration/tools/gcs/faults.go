package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// faults are what goes wrong: zero and empty values are no fault.
type faults struct {
	unavailable, cutReads, cutWrites int
	remove, truncate                 string

	requests, reads, writes atomic.Int64
	change                  sync.Once
}

// wrap puts the faults before a handler of storage.
func (f *faults) wrap(storage *fakestorage.Server, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case due(&f.requests, f.unavailable):
			http.Error(w, "try again", http.StatusServiceUnavailable)
		case isRead(r) && due(&f.reads, f.cutReads):
			next.ServeHTTP(&cutWriter{ResponseWriter: w}, r)
		case isWrite(r) && due(&f.writes, f.cutWrites):
			_, _ = io.CopyN(io.Discard, r.Body, max(r.ContentLength/2, 1))
			panic(http.ErrAbortHandler) // closes the connection without an answer
		default:
			next.ServeHTTP(w, r)
		}
		if isList(r) {
			f.changeListed(storage, r.URL.Query().Get("prefix"), next)
		}
	})
}

// due counts a request and says whether it is an Nth one.
func due(count *atomic.Int64, every int) bool {
	return every > 0 && count.Add(1)%int64(every) == 0
}

func isRead(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Query().Get("alt") == "media"
}

func isWrite(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/upload/") && r.ContentLength > 0
}

func isList(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/storage/v1/b/") && strings.HasSuffix(r.URL.Path, "/o")
}

// changeListed does once what --delete_listed and --truncate_listed ask for, when their object was among those listed.
func (f *faults) changeListed(storage *fakestorage.Server, prefix string, next http.Handler) {
	path := f.remove + f.truncate
	bucket, name, found := strings.Cut(path, "/")
	if !found || !strings.HasPrefix(name, prefix) {
		return
	}
	if object, err := storage.GetObject(bucket, name); err == nil {
		f.change.Do(func() { f.changeObject(storage, object, next) })
	}
}

func (f *faults) changeObject(storage *fakestorage.Server, object fakestorage.Object, next http.Handler) {
	if f.truncate != "" {
		object.Content = object.Content[:len(object.Content)/2]
		object.Crc32c, object.Md5Hash = "", ""
		storage.CreateObject(object)
		return
	}
	path := "/storage/v1/b/" + object.BucketName + "/o/" + url.PathEscape(object.Name)
	next.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, path, nil))
}

// cutWriter sends half of a body, then closes the connection.
type cutWriter struct {
	http.ResponseWriter
	left    int
	started bool
}

func (w *cutWriter) Write(data []byte) (int, error) {
	if !w.started {
		length, _ := strconv.Atoi(w.Header().Get("Content-Length"))
		w.started, w.left = true, length/2
	}
	if len(data) < w.left {
		w.left -= len(data)
		return w.ResponseWriter.Write(data)
	}
	_, _ = w.ResponseWriter.Write(data[:w.left])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}
