package app

import (
	"fmt"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/advice"
)

type tokenCommand struct {
	New tokenNewCommand `cmd:"" help:"Make a token, and the line that allows it. Nothing is stored."`
}

type tokenNewCommand struct {
	outputSettings
	Name string `required:"" help:"Who or what uses the token. The audit log shows this name."`
	Role string `required:"" enum:"read,operate,erase" help:"read: see everything, with personal data masked; operate: also change things and see personal data; erase: also erase."`
}

// Run prints a token, which is shown only here, and its line.
func (c *tokenNewCommand) Run(std streams) error {
	if err := access.CheckName(c.Name); err != nil {
		return advice.Usage(err.Error(), "give another --name")
	}
	role, err := access.ParseRole(c.Role)
	if err != nil {
		return advice.Usage(err.Error(), "give another --role")
	}
	secret, token := access.NewToken(c.Name, role)
	if c.json() {
		return printJSON(std.out, struct {
			Token string `json:"token"`
			Line  string `json:"line"`
		}{secret, token.Line()})
	}
	_, err = fmt.Fprintf(std.out, `token, shown only now: give it to %s
  %s
line for ADMIN_TOKENS, or for the file that ADMIN_TOKENS_FILE names:
  %s
`, c.Name, secret, token.Line())
	return err
}
