package pgproxy

import (
	"strings"
	"time"
)

// Fault selects what happens to a connection at a statement, such as COMMIT.
type Fault int

const (
	// Pass forwards the statement and its reply, as if there were no proxy.
	Pass Fault = iota
	// DropRequest closes the connection without forwarding the statement. A
	// transaction is not committed. It is open until then.
	DropRequest
	// DropReply forwards the statement but nothing after it, waits for the
	// server's answer, and closes the connection without forwarding that answer.
	// After a COMMIT the transaction is committed.
	DropReply
	// BlackHole keeps the connection open but forwards nothing more in either
	// direction. A transaction stays open until the client closes the connection,
	// and the client gets no answer.
	BlackHole
	// Late forwards the statement after the Wait of the strike.
	Late
)

// Moment is a statement that a client is about to execute.
type Moment struct {
	SQL     string   // all statements of a simple query
	Earlier []string // statements before it in the same transaction, since BEGIN
}

// Commits reports whether the first statement is a COMMIT. Other statements may
// follow it in the same round trip.
func (m Moment) Commits() bool { return isCommit(m.SQL) }

// Strike is a fault for the next statements that match, on any connection. The
// server has executed the statements before it then, also if the client has sent
// all of them in one round trip. If one of those failed, the server skips the
// statement, and it is not struck.
type Strike struct {
	At    func(Moment) bool // chooses the statements; nil chooses every COMMIT
	Fault Fault
	Times int           // how many statements are struck; 0 strikes none
	Wait  time.Duration // for Late

	// When is called when the server has executed the statements before a chosen
	// one. If it returns false, the statement is not struck. nil means always. pid is
	// the process id of the server's session.
	When func(pid uint32) bool

	// Do is called at each struck statement: before the fault, or with DropReply
	// when the server has executed the statement. nil does nothing. The
	// connection waits for its end.
	Do func()
}

// At arms a strike. It replaces the remainder of an earlier one.
func (p *Proxy) At(strike Strike) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strike = &strike
}

// AtCommit applies the fault to the next n COMMITs, on any connection. Later
// COMMITs pass. It replaces the remainder of an earlier call.
func (p *Proxy) AtCommit(fault Fault, n int) { p.At(Strike{Fault: fault, Times: n}) }

// Struck returns the number of statements that a fault has hit so far. One with
// a dropped reply counts once the server has answered it.
func (p *Proxy) Struck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.struck
}

// next returns the strike for the statement that has just arrived, and counts
// that statement off. It is nil if there is none.
func (p *Proxy) next(m Moment) *Strike {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.strike == nil || p.strike.Times == 0 {
		return nil
	}
	at := p.strike.At
	if at == nil {
		at = Moment.Commits
	}
	if !at(m) {
		return nil
	}
	p.strike.Times--
	return p.strike
}

// spare gives a strike back that was not applied.
func (p *Proxy) spare(strike *Strike) {
	p.mu.Lock()
	defer p.mu.Unlock()
	strike.Times++
}

// count counts a struck statement.
func (p *Proxy) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.struck++
}

// isCommit reports whether the first statement of a query text is a COMMIT.
func isCommit(sql string) bool {
	words := firstWords(sql)
	return len(words) > 0 && (words[0] == "commit" || words[0] == "end") && len(words) <= 2
}

// begins and ends report whether the first statement of a query text begins or
// ends a transaction.
func begins(sql string) bool {
	words := firstWords(sql)
	return len(words) > 0 && words[0] == "begin"
}

func ends(sql string) bool {
	words := firstWords(sql)
	return len(words) > 0 && words[0] == "rollback" || isCommit(sql)
}

func firstWords(sql string) []string {
	first, _, _ := strings.Cut(sql, ";")
	return strings.Fields(strings.ToLower(first))
}
