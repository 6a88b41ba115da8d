package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"lumin-ingest/store"
)

// Importer imports lines. Use it once.
type Importer struct {
	Store *store.Store

	// Runs creates the runs of each imported event in the transaction that imports
	// it, for the job types in lumin.job_types that subscribe to the event. Late
	// events and events without a body get none. Import fails with [ErrNoJobTypes] if
	// there are no job types.
	Runs bool

	// Damaged is called for each line that cannot be imported. If it returns nil, the
	// import continues without that line; an error ends the import. If Damaged is nil,
	// the first damaged line ends the import.
	Damaged func(*DamagedLine) error

	// Progress is called after each transaction; nil: never.
	Progress func(Result)

	result Result
	batch  []*event
	lines  []int64           // of the batch
	size   int               // of the bodies in the batch
	inside map[identity]bool // which events the batch holds
}

// Result counts what an import has done.
type Result struct {
	Lines        int64 `json:"lines"`
	Bytes        int64 `json:"-"` // of the lines that were read
	Imported     int64 `json:"imported"`
	Stored       int64 `json:"already_stored"` // events that were there before
	Redeliveries int64 `json:"redeliveries"`   // distinct bodies
	Runs         int64 `json:"runs"`

	// Bodiless counts imported events whose body was left out, because an erasure or
	// retention has removed it in this database, or the signature request was erased.
	Bodiless int64 `json:"bodies_left_out"`

	// Superseded counts events that were left out: originals of events that were
	// recovered in this database, and recovered events whose original is stored here.
	// Of the originals, the bodies become redeliveries of the recovered events.
	Superseded int64 `json:"superseded"`

	Damaged int64 `json:"damaged"`
}

// DamagedLine is a line that cannot be imported. Its text holds nothing of the line.
type DamagedLine struct {
	Line  int64 // from 1
	Cause error
}

func (d *DamagedLine) Error() string { return fmt.Sprintf("line %d: %s", d.Line, d.Cause) }
func (d *DamagedLine) Unwrap() error { return d.Cause }

const (
	// A transaction holds locks that recordings may wait for, so it is short.
	maxBatch      = 200
	maxBatchBytes = 4 << 20

	// An event has at most eleven bodies of 1 MiB, in base64.
	maxLine = 32 << 20
)

var errTooLong = fmt.Errorf("it is longer than %d MiB", maxLine>>20)

// ErrNoJobTypes refuses to import events with their runs before a worker has registered
// its job types: no run would be created, and a second import would not create them.
var ErrNoJobTypes = errors.New("no worker has run on this database yet, so it knows no job type")

func (i *Importer) checkJobTypes(ctx context.Context) error {
	if !i.Runs {
		return nil
	}
	var registered bool
	if err := i.Store.Pool().QueryRow(ctx, `SELECT EXISTS (SELECT FROM lumin.job_types)`).Scan(&registered); err != nil {
		return fmt.Errorf("look for job types: %w", err)
	}
	if !registered {
		return ErrNoJobTypes
	}
	return nil
}

// Import imports all lines of r. Empty lines are ignored. The lines before a
// [DamagedLine] that ends the import are stored; after another error, some of the lines
// may be. Importing the same lines again changes nothing that is stored.
func (i *Importer) Import(ctx context.Context, r io.Reader) (Result, error) {
	if err := i.checkJobTypes(ctx); err != nil {
		return i.result, err
	}
	in := bufio.NewReaderSize(r, 1<<16)
	for number := int64(1); ; number++ {
		line, err := readLine(in)
		i.result.Bytes += int64(len(line)) + 1
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\uFEFF")) // some editors begin a file with it
		}
		if errors.Is(err, io.EOF) {
			return i.result, i.flush(ctx)
		}
		switch {
		case errors.Is(err, errTooLong):
			err = i.damaged(ctx, number, err)
		case err != nil:
			return i.result, errors.Join(fmt.Errorf("read line %d: %w", number, err), i.flush(ctx))
		case len(bytes.TrimSpace(line)) > 0:
			err = i.line(ctx, number, line)
		}
		if err != nil {
			return i.result, err
		}
	}
}

// readLine reads a line without its end. A line that is too long is skipped.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for tooLong := false; ; {
		part, err := in.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > maxLine; !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(line) == 0 && !tooLong):
			return nil, err
		case tooLong:
			return nil, errTooLong
		}
		return line, nil
	}
}

// line checks a line and adds it to the batch.
func (i *Importer) line(ctx context.Context, number int64, line []byte) error {
	i.result.Lines++
	e, err := parse(line)
	if err != nil {
		return i.damaged(ctx, number, err)
	}
	if i.inside[e.identity()] {
		i.result.Stored++
		return nil
	}
	// A statement does not see its own rows, so a recovered event and its original
	// must not share one: both would be stored.
	if n := len(i.batch); n > 0 && (i.size+e.size > maxBatchBytes || i.batch[n-1].recovered() != e.recovered()) {
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
	if i.inside == nil {
		i.inside = map[identity]bool{}
	}
	i.inside[e.identity()] = true
	i.batch, i.lines, i.size = append(i.batch, e), append(i.lines, number), i.size+e.size
	if len(i.batch) == maxBatch {
		return i.flush(ctx)
	}
	return nil
}

// damaged reports a damaged line, after the lines before it are imported.
func (i *Importer) damaged(ctx context.Context, number int64, cause error) error {
	if err := i.flush(ctx); err != nil {
		return err
	}
	return i.report(&DamagedLine{number, cause})
}

func (i *Importer) report(d *DamagedLine) error {
	i.result.Damaged++
	if i.Damaged == nil {
		return d
	}
	return i.Damaged(d)
}

// flush imports the batch. If the database refuses the data of one of its lines, the
// lines are imported one by one.
func (i *Importer) flush(ctx context.Context) error {
	batch, lines := i.batch, i.lines
	i.batch, i.lines, i.size, i.inside = nil, nil, 0, nil
	if len(batch) == 0 {
		return nil
	}
	err := i.write(ctx, batch)
	if isRefused(err) && len(batch) > 1 {
		for n, e := range batch {
			if err = i.write(ctx, []*event{e}); isRefused(err) {
				err = i.report(&DamagedLine{lines[n], errRefused})
			}
			if err != nil {
				return err
			}
		}
	} else if isRefused(err) {
		err = i.report(&DamagedLine{lines[0], errRefused})
	}
	if err == nil && i.Progress != nil {
		i.Progress(i.result)
	}
	return err
}
