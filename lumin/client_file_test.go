package lumin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
)

// fetch downloads the agreement.
func fetch(ctx context.Context, client *lumin.Client, id string) ([]byte, error) {
	file, err := client.File(ctx, id, lumin.FileAgreement)
	if err != nil {
		return nil, err
	}
	defer file.Body.Close()
	return io.ReadAll(file.Body)
}

// The file and the link to it give the same result, and only Lumin gets the
// key.
func TestFile(t *testing.T) {
	t.Parallel()
	for _, links := range []bool{false, true} {
		for _, fileType := range []lumin.FileType{lumin.FileAgreement, lumin.FileCoC, lumin.FileMerged} {
			t.Run(fmt.Sprint(fileType, " by link ", links), func(t *testing.T) {
				t.Parallel()
				api := newAPI(t)
				want := luminapi.PDF(100_000)
				api.SetFile("a/b", fileType, want)
				api.UseLinks(links)
				file, err := api.Client().File(t.Context(), "a/b", fileType)
				if err != nil {
					t.Fatal(err)
				}
				defer file.Body.Close()
				got, err := io.ReadAll(file.Body)
				if err != nil || !bytes.Equal(got, want) || file.Size != int64(len(want)) {
					t.Errorf("%d bytes of %d, size %d: %v", len(got), len(want), file.Size, err)
				}
				if n, err := file.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d, %v", n, err)
				}
				asked, followed := api.Requests(luminapi.API), api.Requests(luminapi.Links)
				if len(asked) != 1 || asked[0].URI != "/v1/signature_request/a%2Fb/file?type="+string(fileType) || asked[0].Header.Get("X-API-Key") != luminapi.APIKey {
					t.Errorf("asked %+v", asked)
				}
				if (len(followed) == 1) != links {
					t.Errorf("%d links followed", len(followed))
				}
				for _, r := range followed {
					if header := fmt.Sprint(r.Header); strings.Contains(header, "canary") || r.Header.Get("Referer") != "" {
						t.Errorf("the host of the link got %s", header)
					}
				}
			})
		}
	}
}

// The live service refuses an Accept header with two types. If a service offers
// only one form, the second request asks for that form.
func TestFileForms(t *testing.T) {
	t.Parallel()
	for only, want := range map[string]string{
		"": "[application/json]", "application/json": "[application/json]",
		"application/pdf": "[application/json application/pdf]", "image/png": "[application/json application/pdf]",
	} {
		api := newAPI(t)
		api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
		api.Only(only)
		got, err := fetch(t.Context(), api.Client(), "a")
		var answer *lumin.APIError
		if good := only != "image/png"; good && (err != nil || len(got) != 1000) || !good && (!errors.As(err, &answer) || answer.StatusCode != 406) {
			t.Errorf("%s: %d bytes, %v", only, len(got), err)
		}
		var asked []string
		for _, r := range api.Requests(luminapi.API) {
			asked = append(asked, strings.Join(r.Header.Values("Accept"), " and "))
		}
		if fmt.Sprint(asked) != want {
			t.Errorf("%s: asked for %s", only, asked)
		}
	}
}

// Content that is not a complete PDF is an error, in both forms.
func TestBadFile(t *testing.T) {
	t.Parallel()
	const size = 100_000
	pdf := "application/pdf"
	for name, test := range map[string]struct {
		fault luminapi.Fault
		want  error
	}{
		"truncated":            {luminapi.Truncated(), io.ErrUnexpectedEOF},
		"truncated, no length": {luminapi.TruncatedWithoutLength(), io.ErrUnexpectedEOF},
		"empty":                {luminapi.Answer(pdf, ""), nil},
		"short":                {luminapi.Answer(pdf, "%PD"), nil},
		"a web page":           {luminapi.Answer("text/html", "<html>canary</html>"), nil},
		"a false PDF":          {luminapi.Answer(pdf, "<html>canary</html>"), nil},
		"too large":            {luminapi.Answer(pdf, string(luminapi.PDF(size+1))), lumin.ErrFileTooLarge},
	} {
		for _, links := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " by link ", links), func(t *testing.T) {
				t.Parallel()
				api := newAPI(t)
				api.SetFile("a", lumin.FileAgreement, luminapi.PDF(size))
				if api.UseLinks(links); links {
					api.NextLink(test.fault)
				} else {
					api.Next(test.fault)
				}
				_, err := fetch(t.Context(), api.Client().Limit(size), "a")
				if wantNoLeak(t, err); test.want != nil && !errors.Is(err, test.want) {
					t.Error(err)
				}
			})
		}
	}
}

// Without a Content-Length, the size limit and the end of the file are checked
// while reading.
func TestUnknownLength(t *testing.T) {
	t.Parallel()
	const size = 100_000
	api := newAPI(t)
	api.SetFile("a", lumin.FileAgreement, luminapi.PDF(size))
	api.UseLinks(false)
	for limit, want := range map[int64]error{size: nil, size - 1: lumin.ErrFileTooLarge} {
		api.Next(luminapi.WithoutLength())
		file, err := api.Client().Limit(limit).File(t.Context(), "a", lumin.FileAgreement)
		if err != nil || file.Size != -1 {
			t.Fatalf("%+v, %v", file, err)
		}
		got, err := io.ReadAll(file.Body)
		if !errors.Is(err, want) || int64(len(got)) > limit || want == nil && len(got) != size {
			t.Errorf("limit %d: %d bytes, %v", limit, len(got), err)
		}
		file.Body.Close()
	}
}
