// Package ingest receives Lumin's webhooks over HTTP. Each delivery goes one
// way: limit, read, verify, decode, check its age, record, answer.
//
// Use it as the public listener of a program that has a [store.Recorder] and a
// keyring for each webhook set up at Lumin.
//
// What it guarantees:
//
//   - 200 is answered only after Record has returned without an error.
//   - Bytes that no key of the source signed reach neither Record nor Route.
//     They add to counters and to the log, under labels that they cannot choose.
//   - Memory for a body is bounded: 1 MiB, checked before reading.
//   - A caller that goes away does not interrupt the recording.
//   - Neither the log nor an answer repeats anything of a body, a header, a query
//     or a path. The event type of a verified delivery is the one exception, in
//     the log.
//
// Every refusal is an application/problem+json body whose code is fixed and
// whose detail says what to do. Lumin repeats whatever is not answered 200.
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
//	server := ingest.NewServer(handler)
//	server.Addr = "127.0.0.1:8080"
//	return server.ListenAndServe()
package ingest
