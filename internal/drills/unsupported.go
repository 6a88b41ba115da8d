//go:build !unix

package main

import "log"

func main() {
	log.Fatal("the drills need a unix system")
}
