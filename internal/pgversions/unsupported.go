//go:build !unix

package main

import "log"

func main() {
	log.Fatal("a private PostgreSQL server needs a unix system; run this command on one")
}
