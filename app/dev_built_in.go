package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"lumin-ingest/lumin"
)

// devBuiltIn are the settings that enable built-in job types in dev. Their
// variables begin with DEV_, like DEV_DATABASE_URL: production systems that are
// configured in the user's shell must not receive the demo's events.
type devBuiltIn struct {
	luminSettings   `envprefix:"DEV_"`
	builtInSettings `envprefix:"DEV_" group:"Built-in job types:"`
}

// env returns the Env of job types in dev. Without an API key, its client uses
// a stand-in for Lumin's API.
func (s *devBuiltIn) env(std streams) (env Env, closeAPI func(), err error) {
	for _, name := range []string{"FORWARD_URLS", "ARCHIVE_URL", "RECONCILE_EVERY", "RECOVER_EVERY"} {
		if os.Getenv(name) != "" {
			fmt.Fprintf(std.out, "%[1]s is set, but dev ignores it: set DEV_%[1]s, or the flag\n", name)
		}
	}
	if env.Lumin, env.LuminAPIKey, err = s.client(); err != nil || env.Lumin != nil {
		return env, func() {}, err
	}
	url, closeAPI, err := serveLuminAPI()
	if err != nil {
		return env, nil, err
	}
	env.LuminAPIKey = "dev"
	env.Lumin, err = lumin.NewClient(lumin.ClientConfig{BaseURL: url, APIKey: env.LuminAPIKey})
	if err != nil {
		closeAPI()
		return env, nil, err
	}
	if s.ForwardURLs != "" || s.ArchiveURL != "" || s.ReconcileEvery != 0 || s.RecoverEvery != 0 {
		fmt.Fprintf(std.out, "A stand-in for Lumin's API at %s answers that every signature request is approved. Set DEV_LUMIN_API_KEY to use Lumin's API\n", url)
	}
	return env, closeAPI, nil
}

// serveLuminAPI serves a stand-in for Lumin's API on this machine.
func serveLuminAPI() (url string, closeAPI func(), err error) {
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for the stand-in for Lumin's API: %w", err)
	}
	base := "http://" + socket.Addr().String()
	server := &http.Server{Handler: luminAPI(base), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(socket) }()
	return base + "/v1", func() { _ = server.Close() }, nil
}

// devPDF is the file of every signature request, a PDF with one empty page.
const devPDF = `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj
trailer<</Root 1 0 R>>
%%EOF
`

// luminAPI gives the answers of Lumin's API for approved signature requests.
func luminAPI(base string) http.Handler {
	api := http.NewServeMux()
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value) // fails only if the client has gone
	}
	pdf := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pdf")
		_, _ = w.Write([]byte(devPDF))
	}
	api.HandleFunc("GET /v1/signature_request/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"signature_request": map[string]any{
			"signature_request_id": r.PathValue("id"), "status": lumin.StatusApproved,
		}})
	})
	api.HandleFunc("GET /v1/signature_request/{id}/file", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "application/json" {
			pdf(w, r)
			return
		}
		link := base + "/file"
		answer(w, map[string]any{"signed_url": link, "download_url": link, "expires_at": time.Now().Add(time.Hour).Unix()})
	})
	api.HandleFunc("GET /file", pdf)
	return api
}
