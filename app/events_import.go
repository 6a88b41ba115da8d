package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/schollz/progressbar/v3"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/transfer"
)

type eventsImportCommand struct {
	databaseSettings
	actorSettings
	outputSettings
	File      string `arg:"" help:"File to read, or - for standard input."`
	Runs      string `default:"none" enum:"none,missing" help:"none: no job type runs. missing: each imported event gets runs of the job types that subscribe to it, as with replay --missing. For ordered job types, export with --oldest-first."`
	OnDamaged string `default:"stop" enum:"stop,skip" help:"What to do at a damaged line. stop: import the lines before it. skip: report it and continue; the exit code is then 1."`
	Reason    string `help:"Reason for the import. It is stored in the audit log."`
}

func (c *eventsImportCommand) Run(ctx context.Context, std streams) error {
	in, size, closeFile, err := c.open(std)
	if err != nil {
		return err
	}
	defer closeFile()
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	show, finish := importProgress(std.err, size)
	importer := &transfer.Importer{Store: st, Runs: c.Runs == "missing", Progress: show}
	if c.OnDamaged == "skip" {
		importer.Damaged = func(d *transfer.DamagedLine) error {
			fmt.Fprintf(std.err, "%s: skipped %s\n", programName(), d)
			return nil
		}
	}
	result, err := c.carryOut(ctx, st, importer, in)
	finish()
	if printErr := c.print(std.out, result); err == nil {
		err = printErr
	}
	return c.explain(ctx, result, err)
}

// open opens the file. Its size is -1 if it is not known.
func (c *eventsImportCommand) open(std streams) (in io.Reader, size int64, closeFile func(), err error) {
	if c.File == "-" {
		return std.in, -1, func() {}, nil
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, 0, nil, advice.Usage(err.Error(), "give a file that \"events list --output json --payload --oldest-first\" has written, or - for standard input")
	}
	size = -1
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, func() { _ = file.Close() }, nil // it was only read
}

// carryOut imports, and writes a row of the audit log.
func (c *eventsImportCommand) carryOut(ctx context.Context, st *store.Store, importer *transfer.Importer, in io.Reader) (result transfer.Result, err error) {
	subject := map[string]string{"runs": c.Runs, "on_damaged": c.OnDamaged}
	by := operate.Actor{Name: c.actor(), Via: operate.Command}
	err = operate.New(st).Do(ctx, by, operate.Change{Action: operate.ActionImport, Subject: subject, Reason: c.Reason}, func(ctx context.Context) (any, error) {
		result, err = importer.Import(ctx, in)
		return result, err
	})
	return result, err
}

// importProgress shows how many bytes of the input are done, if w is a terminal.
func importProgress(w io.Writer, size int64) (show func(transfer.Result), finish func()) {
	f := terminal(w)
	if f == nil {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(size >= 0),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(size >= 0), progressbar.OptionSetDescription("import"))
	show = func(r transfer.Result) {
		done := r.Bytes
		if size < 0 {
			done = r.Lines
		}
		_ = bar.Set64(done) // a closed terminal needs no bar
	}
	return show, func() { fmt.Fprintln(f) }
}

func (c *eventsImportCommand) print(w io.Writer, r transfer.Result) error {
	if c.json() {
		return printJSON(w, r)
	}
	var rows [][]string
	for _, row := range []struct {
		what string
		n    int64
	}{
		{"lines read", r.Lines},
		{"events imported", r.Imported},
		{"distinct redeliveries imported", r.Redeliveries},
		{"runs created", r.Runs},
		{"events that were stored already", r.Stored},
		{"events left out because of a recovered event", r.Superseded},
		{"bodies left out, because they were removed here", r.Bodiless},
		{"damaged lines", r.Damaged},
	} {
		rows = append(rows, []string{row.what, strconv.FormatInt(row.n, 10)})
	}
	table(w, []string{"IMPORT", ""}, rows)
	return nil
}

// explain adds advice to the error that ended an import, and reports skipped lines.
func (c *eventsImportCommand) explain(ctx context.Context, r transfer.Result, err error) error {
	var damaged *transfer.DamagedLine
	switch {
	case errors.Is(err, transfer.ErrNoBodies):
		return advice.Add(err, "write the file with \"events list --output json --payload --oldest-first\", without --server")
	case errors.Is(err, store.ErrOlderProgram):
		return advice.Add(err, "update it, or stop it and wait a minute; then import the file again: events that are stored do not change")
	case errors.As(err, &damaged):
		return advice.Add(err, "the lines before it are imported; repair the line and import the file again, or use --on-damaged skip")
	case errors.Is(err, transfer.ErrNoJobTypes):
		return advice.Add(err, "start the programs with their workers on it once, and import the file then")
	case advice.LacksRight(err):
		return err
	case err != nil && ctx.Err() != nil:
		return advice.Add(errors.New("interrupted"), "import the file again: events that are stored do not change")
	case err != nil:
		return advice.Add(err, "import the file again: events that are stored do not change")
	case r.Damaged > 0:
		return advice.Add(fmt.Errorf("damaged lines skipped: %d", r.Damaged), "export these events again, and import them")
	}
	return nil
}
