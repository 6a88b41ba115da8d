package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// riverKeys are keys of River's job context that River does not export.
type riverKeys struct {
	metadata  any // of the map in which MetadataSet and RecordOutput store their values
	resumable any // of the state of ResumableStep
	client    any // of the client that ClientFromContext returns
}

// findRiverKeys calls River with contexts that record which keys River looks up.
// Tests check that this works.
func findRiverKeys() riverKeys {
	var metadata, resumable, client keyProbe
	metadata.record(func() { _ = river.MetadataSet(&metadata, "probe", nil) })
	resumable.record(func() { river.ResumableStep(&resumable, "probe", nil, nil) })
	client.record(func() { _, _ = river.ClientFromContextSafely[pgx.Tx](&client) })
	return riverKeys{metadata: metadata.key, resumable: resumable.key, client: client.key}
}

// keyProbe is an empty context that records the last key that was looked up.
type keyProbe struct {
	context.Context
	key any
}

func (p *keyProbe) record(lookUp func()) {
	defer func() { _ = recover() }() // River panics if a required key is missing
	p.Context = context.Background()
	lookUp()
}

// Value implements context.Context.
func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

// jobContext is the context of a job type. It carries a logger and hides
// River's resumable steps, which report their errors only after the run is
// settled.
type jobContext struct {
	context.Context
	hidden []any
	logger *slog.Logger
}

// loggerKey is the key of the logger in a jobContext.
type loggerKey struct{}

// Value implements context.Context.
func (c jobContext) Value(key any) any {
	switch {
	case key == loggerKey{}:
		return c.logger
	case slices.Contains(c.hidden, key):
		return nil
	}
	return c.Context.Value(key)
}

// Logger returns the program's logger with event_id, kind and attempt in every
// line. ctx must be the context of an attempt, or derived from it. For any
// other context Logger returns [slog.Default]. Do not log names, addresses or
// bodies.
func Logger(ctx context.Context) *slog.Logger {
	if logger, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return logger
	}
	return slog.Default()
}

// cancelRequested is a key of River's own metadata. River's rescuer rescues no
// job at all if one of them has a value there that is not a time.
const cancelRequested = "cancel_attempted_at"

// makeStorable changes the metadata that a job has set so that jsonb accepts
// it. A value that cannot be stored is replaced by a text with the reason.
func makeStorable(metadata map[string]any) {
	set := maps.Clone(metadata)
	clear(metadata)
	for key, value := range set {
		if key == cancelRequested {
			continue
		}
		var encoded json.RawMessage
		err := isolate(func() (err error) {
			encoded, err = storable(value)
			return err
		})
		if err != nil {
			encoded, _ = json.Marshal("removed: " + err.Error()) // a string can always be encoded
		}
		metadata[withoutNUL(key)] = encoded
	}
}

// maxMetadataDepth is far below the depth that exceeds the stack of a
// PostgreSQL server.
const maxMetadataDepth = 200

// storable encodes a value as JSON that jsonb accepts: without NULs and lone
// surrogates, with numbers in range, and not nested too deeply.
func storable(value any) (json.RawMessage, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, errors.New("it cannot be encoded as JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var decoded any // lone surrogates and bytes that are not UTF-8 have become U+FFFD
	if err := decoder.Decode(&decoded); err != nil {
		return nil, errors.New("it is nested too deeply")
	}
	if decoded, err = storableValue(decoded, maxMetadataDepth); err != nil {
		return nil, err
	}
	return json.Marshal(decoded)
}

func storableValue(value any, depth int) (_ any, err error) {
	if depth == 0 {
		return nil, errors.New("it is nested too deeply")
	}
	switch v := value.(type) {
	case string:
		return withoutNUL(v), nil
	case json.Number:
		return storableNumber(v)
	case []any:
		for i := range v {
			if v[i], err = storableValue(v[i], depth-1); err != nil {
				return nil, err
			}
		}
		return v, nil
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, member := range v {
			if members[withoutNUL(name)], err = storableValue(member, depth-1); err != nil {
				return nil, err
			}
		}
		return members, nil
	default:
		return value, nil
	}
}

// storableNumber returns a number unchanged unless its exponent may exceed the
// range of PostgreSQL's numeric.
func storableNumber(n json.Number) (any, error) {
	if len(n) <= 100 && !strings.ContainsAny(n.String(), "eE") {
		return n, nil
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return nil, errors.New("a number in it is out of range")
	}
	return f, nil
}

func withoutNUL(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}
