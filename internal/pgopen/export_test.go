package pgopen

// HasUnread is hasUnread.
var HasUnread = hasUnread
