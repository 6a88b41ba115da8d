// Package hostile contains HTTP requests that try to confuse or exhaust a
// server, and the answers that the public listener must give. Only tests use it.
//
//	for _, c := range hostile.Requests(body, signature) {
//		conn.Write([]byte(c.Send)) // then read the answers c.Answers
//	}
package hostile
