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
//   - Memory is bounded before anything is known about a caller: 1 MiB for a body,
//     64 MiB for all of them (see Config.MaxBodyMemory), 16 KiB for a header, and
//     2048 connections with [Handler.Guard]. Small deliveries pass while large ones
//     use that memory up.
//   - A caller that goes away does not interrupt the recording.
//   - Neither the log nor an answer repeats anything of a body, a header, a query
//     or a path. The log has two exceptions: the event type of a verified delivery,
//     and the name of an app that is not configured, shortened and escaped.
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
//	listener, err := net.Listen("tcp", "127.0.0.1:8080")
//	if err != nil {
//		return err
//	}
//	return ingest.NewServer(handler).Serve(handler.Guard(listener))
package ingest
