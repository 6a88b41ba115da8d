// Package load sends signed deliveries over HTTP and measures the answers.
//
// The benchmark runs it in a process of its own, so that its CPU time can be
// told apart from the measured program's. It has its own small HTTP client,
// because it must cost less than the programs it measures.
//
// Two modes exist. In the closed loop, every connection sends its next delivery
// as soon as the last one is answered. In the open loop (Config.Rate), the
// deliveries are due at fixed times, and latencies count from these times. A
// slow answer therefore also shows in the deliveries that had to wait for it.
//
// Every delivery is a distinct event of a signature request of its own, unless
// Config.Distinct is set. The ids are hashes, because ordered ids would flatter
// the indexes.
//
// [Callers] is the same load inside the measured process, without HTTP.
package load
