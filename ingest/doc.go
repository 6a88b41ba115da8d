// Package ingest receives Lumin's webhooks over HTTP. Each delivery passes the
// same steps: limit, read, verify, decode, check its age, record, answer.
//
// Use it as the public listener of a program that has a [store.Recorder] and a
// keyring for each webhook set up at Lumin.
//
// Guarantees:
//
//   - The response is 200 only after Record has returned without an error.
//   - Bytes without a valid signature from a key of the source reach neither
//     Record nor Route. They only affect counters and the log, with fixed
//     labels.
//   - Memory is limited even for unknown callers: 1 MiB per body, 64 MiB for
//     all bodies (see Config.MaxBodyMemory), 16 KiB per header, and 2048
//     connections with [Handler.Guard]. Small deliveries pass even if large
//     ones have used up the memory for bodies.
//   - A caller that disconnects does not interrupt the recording.
//   - The log and the responses contain no part of a body, a header, a query or
//     a path. The log has two exceptions: the event type of a verified
//     delivery, and the name of an app that is not configured, shortened and
//     escaped.
//
// Every refusal has an application/problem+json body with a fixed code and a
// detail that suggests a remedy. Lumin retries every delivery that is not
// answered 200.
//
//	handler, err := ingest.New(ingest.Config{
//		Sources:     map[string]*lumin.Keyring{"account": keyring},
//		Record:      recorder.Record,
//		Route:       registry.Route,
//		MaxEventAge: 48 * time.Hour,
//		Logger:      logger,
//	})
//	if err != nil {
//		return err
//	}
//	listener, err := net.Listen("tcp", "127.0.0.1:8080")
//	if err != nil {
//		return err
//	}
//	return ingest.NewServer(handler).Serve(handler.Guard(listener))
package ingest
