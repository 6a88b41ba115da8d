// Package wire is a TCP proxy between a program and PostgreSQL that delays
// every byte and counts round trips.
//
// It does not read the protocol. A round trip is counted whenever the client
// sends something after the server has sent something on the same connection.
// Statements that the client sends in one go therefore count once, which is how
// often the client waits for the network.
//
// A delay holds each piece of data for a fixed time but does not limit the
// throughput: later pieces are held at the same time, as on a long cable.
package wire
