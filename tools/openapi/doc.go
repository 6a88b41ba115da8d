// Package openapi tests the OpenAPI document that the API serves with a validator
// that others wrote: the document itself, each of its examples, and answers of a
// running API. It is a module of its own, because only these tests need the
// validator.
package openapi
