package pgproxy

import "sync"

// progress is how far the server has answered the requests of a session. The
// goroutine that forwards replies notes each of them.
type progress struct {
	mu       sync.Mutex
	changed  *sync.Cond
	round    int  // the round of the next reply
	executed int  // Execute messages of that round that are answered
	failed   bool // an error has ended that round: the server skips its other statements
	over     bool // no more replies are noted
}

func newProgress() *progress {
	p := &progress{round: 1}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// note changes the progress.
func (p *progress) note(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

// end ends all waits.
func (p *progress) end() { p.note(func() { p.over = true }) }

// reached reports whether the server has answered so many Execute messages of a
// round, or will answer no more. The caller holds mu.
func (p *progress) reached(round, executes int) bool {
	return p.over || p.round > round || p.round == round && (p.failed || p.executed >= executes)
}

// lacks reports whether replies are still to come before those of reached.
func (p *progress) lacks(round, executes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.reached(round, executes)
}

// wait waits for reached. It reports whether the server has executed these
// statements without an error.
func (p *progress) wait(round, executes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.reached(round, executes) {
		p.changed.Wait()
	}
	return !p.over && p.round == round && !p.failed
}
