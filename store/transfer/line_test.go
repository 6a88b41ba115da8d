package transfer_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/transfer"
)

// Some editors write a mark before the first line.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	from, to := storetest.New(t), storetest.New(t)
	storetest.Record(t, from, storetest.Delivery(1))
	if result := mustImport(t, to, []string{"\uFEFF" + export(t, from, true)[0]}, false); result.Imported != 1 {
		t.Errorf("%+v", result)
	}
}

func TestLongLine(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	text := io.MultiReader(strings.NewReader("\n"), io.LimitReader(zeros{}, 40<<20), strings.NewReader("\n{}"))
	var damaged []string
	i := transfer.Importer{Store: s, Damaged: func(d *transfer.DamagedLine) error { damaged = append(damaged, d.Error()); return nil }}
	if _, err := i.Import(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(damaged), "[line 2: it is longer than 32 MiB line 3: the line has no body: export with --payload]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// zeros is an endless line.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
