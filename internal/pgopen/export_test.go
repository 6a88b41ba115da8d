package pgopen

// PingAfter is pingAfter.
const PingAfter = pingAfter

// HasUnread is hasUnread.
var HasUnread = hasUnread
