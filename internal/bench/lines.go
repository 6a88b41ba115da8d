package main

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// countLines returns the number of lines of a file.
func countLines(path string) (n int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	buffer := make([]byte, 64<<10)
	for {
		read, err := file.Read(buffer)
		n += bytes.Count(buffer[:read], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
