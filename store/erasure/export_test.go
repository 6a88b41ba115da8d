package erasure

// Mentions reports whether a word is in a text.
func Mentions(word string, text []byte) bool { return newMention(word).contains(text) }

// MentionsAddress reports whether an e-mail address is in a text.
func MentionsAddress(email string, text []byte) bool {
	return Subject{Email: email}.mentions()[0].contains(text)
}

// Queries whose plans are checked.
const (
	LockSQL       = lockSQL
	JobRunningSQL = jobRunningSQL
)
