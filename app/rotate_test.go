//go:build unix

package app

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

const newKey = "canary_account_key_2" // contains accountKey, so leaks sees it as well

// secretFile is a file behind two symbolic links, as Kubernetes mounts secrets:
// writing another version swaps the folder.
type secretFile struct {
	t       *testing.T
	dir     string
	version int
}

func (f *secretFile) path() string { return filepath.Join(f.dir, "secret") }

func (f *secretFile) write(content string) {
	f.t.Helper()
	f.version++
	folder := "..v" + string(rune('a'+f.version))
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(f.dir, folder), 0o700))
	must(os.WriteFile(filepath.Join(f.dir, folder, "secret"), []byte(content), 0o600))
	must(os.Symlink(folder, filepath.Join(f.dir, "..next")))
	must(os.Rename(filepath.Join(f.dir, "..next"), filepath.Join(f.dir, "..data")))
	if f.version == 1 {
		must(os.Symlink(filepath.Join("..data", "secret"), f.path()))
	}
}

// answers delivers an event signed with a key and returns the status.
func answers(t *testing.T, url, key string) int {
	t.Helper()
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	return mustPost(t, url, b, lumin.Sign(b, key)).code
}

// A whole rotation, with the real program and without a restart.
func TestRotation(t *testing.T) {
	t.Parallel()
	file := &secretFile{t: t, dir: t.TempDir()}
	file.write(accountKey + "\n")
	apps := filepath.Join(t.TempDir(), "apps")
	if err := os.WriteFile(apps, []byte("demo="+appSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, append(serveEnv(newDatabase(t)), "LUMIN_ACCOUNT_API_KEYS=", "LUMIN_APP_SECRETS=",
		"LUMIN_ACCOUNT_API_KEYS_FILE="+file.path(), "LUMIN_APP_SECRETS_FILE="+apps), "serve")
	p.waitReady()
	account, app := p.public()+"/webhooks/account", p.public()+"/webhooks/apps/"
	want := func(code int, url, key string) {
		t.Helper()
		if got := answers(t, url, key); got != code {
			t.Errorf("%s answered %d, want %d", url, got, code)
		}
	}
	reached := func(code int, url, key string) {
		t.Helper()
		eventually(t, 20*time.Second, "the new secrets are used", func() bool { return answers(t, url, key) == code })
	}
	want(200, account, accountKey)
	want(401, account, newKey)

	file.write(newKey + "," + accountKey)
	reached(200, account, newKey)
	want(200, account, accountKey)
	file.write(newKey)
	reached(401, account, accountKey)
	want(200, account, newKey)

	// A broken file changes nothing and is logged. Once repaired, it works
	// again.
	for _, broken := range []string{" \n", newKey + ",," + accountKey, newKey + "," + newKey[:15]} {
		file.write(broken)
		p.signal(syscall.SIGHUP)
	}
	eventually(t, 20*time.Second, "the last one is logged", func() bool {
		return strings.Contains(p.stderr.String(), "entry 2 has fewer than 16 bytes")
	})
	want(200, account, newKey)
	want(200, app+"demo", appSecret)
	file.write(newKey)

	// SIGHUP acts at once: one app is added, another is removed.
	if err := os.WriteFile(apps, []byte("other="+appSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	reached(200, app+"other", appSecret)
	want(404, app+"demo", appSecret)
	want(200, account, newKey)
	wantRotated(t, p)
	p.signal(syscall.SIGTERM)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// wantRotated checks the metrics and the log after the rotation.
func wantRotated(t *testing.T, p *program) {
	t.Helper()
	_, metrics := get(p.admin() + "/metrics")
	if !strings.Contains(metrics, `lumin_source_mismatches_since_verified{source="app:other"} 0`) ||
		strings.Contains(metrics, `lumin_source_mismatches_since_verified{source="app:demo"}`) {
		t.Errorf("the gauges do not match the configured sources")
	}
	changed := p.stderr.logged("the secrets have changed")
	ids, _ := changed["key_ids"].(map[string]any)
	if list, _ := ids["account"].([]any); len(list) != 2 || list[0] != lumin.KeyID(newKey) {
		t.Errorf("logged %v", changed)
	}
}

// SIGHUP does not end a program that has no files to reload.
func TestHangupWithoutFiles(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"all", "worker"} {
		p := startProgram(t, serveEnv(newDatabase(t), "LUMIN_ROLE="+role), "serve")
		p.waitReady()
		p.signal(syscall.SIGHUP)
		eventually(t, 20*time.Second, "it logs that", func() bool {
			p.mustRun()
			return p.stderr.logged("SIGHUP: there is nothing to reload") != nil
		})
		p.signal(syscall.SIGTERM)
		if code := p.wait(20 * time.Second); code != 0 {
			t.Errorf("it ended with %d", code)
		}
	}
}

// A file that is not a list of secrets is refused, even after SIGHUP. The error
// shows no part of the file.
func TestSecretsThatAreNone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	settings := sourceSettings{AccountAPIKeysFile: file}
	noise := make([]byte, 200)
	_, _ = rand.Read(noise)
	for name, content := range map[string]string{
		"nothing":          "\n",
		"a short key":      newKey + "," + newKey[:15],
		"an empty entry":   newKey + ",," + accountKey,
		"noise":            "\x80" + string(noise),
		"a web page":       "<html><head><title>502 Bad Gateway</title></head></html>\n",
		"a short web page": "<html>" + newKey + "</html>",
		"a sentence":       newKey + " is the key",
		"quotes":           "\"" + newKey + "\"\n",
		"UTF-16":           "\xFF\xFEk\x00e\x00y\x00",
		"a zero byte":      newKey + "\x00",
		"much":             strings.Repeat("k", maxSecretFile+1),
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := settings.keyrings()
		if err == nil {
			t.Errorf("%s is accepted", name)
		} else if said := err.Error(); len(leaks(said)) > 0 || strings.Contains(said, "html") || strings.Contains(said, "kkk") {
			t.Errorf("%s: %s", name, said)
		}
	}
	for _, content := range []string{
		newKey + "," + accountKey, newKey + "\n" + accountKey + "\n", newKey + "\r\n" + accountKey + "\r\n",
		"\n " + newKey + " ,\n\n" + accountKey, newKey + "\n, " + accountKey, newKey + "\n\n\n" + accountKey + "\n\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		keyrings, err := settings.keyrings()
		if err != nil || !slices.Equal(keyrings["account"].KeyIDs(), []string{lumin.KeyID(newKey), lumin.KeyID(accountKey)}) {
			t.Errorf("%q: %v, %v", content, keyrings, err)
		}
	}
}

// A file that never ends, or never begins, is not waited for.
func TestSecretsNotInPlainFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link, plain := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "plain")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, []byte(strings.Repeat("k", maxSecretFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error)
	for _, file := range []string{pipe, link, dir, "/dev/zero"} {
		go func() { _, err := secret("KEY", "", file); refused <- err }()
		select {
		case err := <-refused:
			if err == nil || !strings.Contains(err.Error(), "not a plain file") {
				t.Errorf("%s: %v", file, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not refused", file)
		}
	}
	if text, err := secret("KEY", "", plain); err != nil || len(text) != maxSecretFile {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
