package app

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
)

// bodySettings choose a body and the secrets to sign or verify it with.
type bodySettings struct {
	sourceSettings
	Source string `default:"account" help:"Use the secret of this source: account or app:NAME."`
	Key    string `placeholder:"SECRET" help:"The secret, instead of a configured one."`
	File   string `arg:"" optional:"" help:"File with the exact bytes of the body; standard input by default."`
}

func (s bodySettings) body(std streams) ([]byte, error) {
	if s.File == "" || s.File == "-" {
		return io.ReadAll(std.in)
	}
	body, err := os.ReadFile(s.File)
	if err != nil {
		return nil, advice.Usage(err.Error(), "name a file with the body, or pipe it in")
	}
	return body, nil
}

// keys returns the secrets to use, the current one first. White space around a
// secret is trimmed, as serve does.
func (s bodySettings) keys() ([]string, error) {
	if s.Key != "" {
		key, err := clean("--key", s.Key)
		if err == nil && key == "" {
			err = advice.Usage("--key contains only white space", "give the secret as Lumin shows it")
		}
		return []string{key}, err
	}
	if err := checkSource(s.Source); err != nil {
		return nil, err
	}
	secrets, err := s.secrets()
	if err != nil {
		return nil, err
	}
	if len(secrets[s.Source]) == 0 {
		return nil, advice.Usage(fmt.Sprintf("no secret for source %s", s.Source), "give --key, or set LUMIN_ACCOUNT_API_KEYS or LUMIN_APP_SECRETS")
	}
	return secrets[s.Source], nil
}

// keysAndBody returns the secrets and the body.
func (s bodySettings) keysAndBody(std streams) (keys []string, body []byte, err error) {
	if keys, err = s.keys(); err != nil {
		return nil, nil, err
	}
	body, err = s.body(std)
	return keys, body, err
}

type signCommand struct{ bodySettings }

func (c *signCommand) Run(std streams) error {
	keys, body, err := c.keysAndBody(std)
	if err != nil {
		return err
	}
	fmt.Fprintln(std.out, lumin.Sign(body, keys[0]))
	return nil
}

type verifyCommand struct {
	bodySettings
	Signature string `required:"" placeholder:"HEX" help:"The value of the X-Signature header."`
}

func (c *verifyCommand) Run(std streams) error {
	keys, body, err := c.keysAndBody(std)
	if err != nil {
		return err
	}
	keyring, err := lumin.NewKeyring(keys...)
	if err != nil {
		return advice.Usage(err.Error(), "give the secret as Lumin shows it")
	}
	// HTTP trims white space around the value of a header, and so does serve.
	match, err := keyring.Verify(body, http.Header{lumin.SignatureHeader: {strings.TrimSpace(c.Signature)}})
	if errors.Is(err, lumin.ErrSignatureMismatch) {
		return advice.Add(err, "the body must be the exact bytes that were sent (%d were read here): a trailing newline or re-serialized JSON changes the signature", len(body))
	}
	if err != nil {
		return advice.Usage(err.Error(), "give the value of the header as it was received, 64 hexadecimal digits")
	}
	fmt.Fprintf(std.out, "valid, signed with the key of fingerprint %s\n", match.KeyID)
	return nil
}
