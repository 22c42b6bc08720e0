package backend

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// left is what remains of the time until the final headers; ok is false where
// there is no limit.
func (c *call) left() (left time.Duration, ok bool) {
	if c.limits.UntilHeaders <= 0 {
		return 0, false
	}
	return c.limits.UntilHeaders - time.Since(c.began) + c.uploaded, true
}

// outOfTime makes e the end of that time.
func (c *call) outOfTime(e *failure.Error) {
	e.Cause, e.Detail = failure.TotalDeadline, fmt.Sprintf("after %v", c.limits.UntilHeaders)
}
