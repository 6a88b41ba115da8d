package lumin

import "time"

// At sets the clock.
func (c *Client) At(now time.Time) *Client {
	c.now = func() time.Time { return now }
	return c
}

// Limit sets the size of the largest file.
func (c *Client) Limit(size int64) *Client {
	c.maxFile = size
	return c
}
