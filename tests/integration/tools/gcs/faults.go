package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// faults are what goes wrong: zero and empty values are no fault.
type faults struct {
	unavailable, tooMany, cutReads, cutWrites int
	remove, truncate, replace, replaceRead    string
	createOnly                                string
	noRanges                                  bool
	delay                                     time.Duration

	requests, limited, reads, writes atomic.Int64
	change                           sync.Once
}

// wrap puts the faults before a handler of storage.
func (f *faults) wrap(storage *fakestorage.Server, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(f.delay)
		if f.noRanges {
			r.Header.Del("Range")
		}
		switch {
		case due(&f.requests, f.unavailable):
			http.Error(w, "try again", http.StatusServiceUnavailable)
		case due(&f.limited, f.tooMany):
			http.Error(w, "slow down", http.StatusTooManyRequests)
		case f.createOnly != "" && strings.HasPrefix(named(r), f.createOnly) && !strings.HasPrefix(r.URL.Path, "/upload/"):
			http.Error(w, "denied", http.StatusForbidden)
		case isRead(r) && due(&f.reads, f.cutReads):
			next.ServeHTTP(&cutWriter{ResponseWriter: w}, r)
		case isWrite(r) && due(&f.writes, f.cutWrites):
			_, _ = io.CopyN(io.Discard, r.Body, max(r.ContentLength/2, 1))
			panic(http.ErrAbortHandler) // closes the connection without an answer
		default:
			next.ServeHTTP(w, r)
		}
		if isList(r) {
			f.changeNamed(storage, f.remove+f.truncate+f.replace, r.URL.Query().Get("prefix"), next)
		}
		if isRead(r) && f.replaceRead != "" && named(r) == f.replaceRead {
			f.changeNamed(storage, f.replaceRead, "", next)
		}
	})
}

// named is BUCKET/OBJECT of a request, or BUCKET/PREFIX of a listing.
func named(r *http.Request) string {
	_, path, _ := strings.Cut(r.URL.Path, "/b/")
	bucket, name, _ := strings.Cut(path, "/o")
	return bucket + "/" + strings.TrimPrefix(name, "/") + r.URL.Query().Get("prefix") + r.URL.Query().Get("name")
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

// changeNamed does once what the flags ask for with an object, if it is below a prefix.
func (f *faults) changeNamed(storage *fakestorage.Server, path, prefix string, next http.Handler) {
	bucket, name, found := strings.Cut(path, "/")
	if !found || !strings.HasPrefix(name, prefix) {
		return
	}
	if object, err := storage.GetObject(bucket, name); err == nil {
		f.change.Do(func() { f.changeObject(storage, object, next) })
	}
}

func (f *faults) changeObject(storage *fakestorage.Server, object fakestorage.Object, next http.Handler) {
	if f.remove != "" {
		path := "/storage/v1/b/" + object.BucketName + "/o/" + url.PathEscape(object.Name)
		next.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, path, nil))
		return
	}
	if f.truncate != "" {
		object.Content = object.Content[:len(object.Content)/2]
	} else {
		object.Content = append(object.Content, object.Content...)
	}
	object.Crc32c, object.Md5Hash, object.Generation = "", "", 0
	storage.CreateObject(object)
}

// requestLog counts requests to storage; GET /log tells and forgets them.
type requestLog struct {
	lock   sync.Mutex
	now    int
	Log    []string `json:"log"`
	AtOnce int      `json:"at_once"`
}

func (l *requestLog) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.add(r.Method+" "+r.URL.RequestURI(), 1)
		defer l.add("", -1)
		next.ServeHTTP(w, r)
	})
}

func (l *requestLog) add(request string, change int) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if request != "" {
		l.Log = append(l.Log, request)
	}
	l.now += change
	l.AtOnce = max(l.AtOnce, l.now)
}

func (l *requestLog) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	l.lock.Lock()
	defer l.lock.Unlock()
	_ = json.NewEncoder(w).Encode(l)
	l.Log, l.AtOnce = []string{}, 0
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
