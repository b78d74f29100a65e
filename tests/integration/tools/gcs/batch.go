package main

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
)

// nameParts gives each part of a batch request a Content-ID where it has none: Google's Python client sends none, and
// the storage behind leaves such parts out of its answer.
func nameParts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/batch/storage/v1" {
			if err := renameParts(r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func renameParts(r *http.Request) error {
	reader, err := r.MultipartReader()
	if err != nil {
		return err
	}
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for number := 0; ; number++ {
		part, err := reader.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if part.Header.Get("Content-ID") == "" {
			part.Header.Set("Content-ID", fmt.Sprintf("<part+%d>", number))
		}
		target, err := writer.CreatePart(part.Header)
		if err != nil {
			return err
		}
		if _, err = io.Copy(target, part); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	r.Body, r.ContentLength, r.MultipartForm = io.NopCloser(&body), int64(body.Len()), nil
	r.Header.Set("Content-Type", mime.FormatMediaType("multipart/mixed", map[string]string{"boundary": writer.Boundary()}))
	return nil
}
