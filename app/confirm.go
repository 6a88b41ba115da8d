package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// errNoTerminal means that there is no one to ask.
var errNoTerminal = errors.New("standard input and standard error are not a terminal")

// confirm asks a question on the terminal, and reports whether the answer is yes.
// It returns the error of ctx if that ends first.
func confirm(ctx context.Context, std streams, question string) (bool, error) {
	in, ok := std.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || terminal(std.err) == nil {
		return false, errNoTerminal
	}
	fmt.Fprintf(std.err, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() { // outlives an interrupted command by the moment until the process ends
		line, _ := bufio.NewReader(in).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(std.err)
		return false, ctx.Err()
	case answer := <-answers:
		return answer == "y" || answer == "yes", nil
	}
}
