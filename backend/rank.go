package backend

// fitness is what is known of an endpoint with regard to one request.
type fitness uint8

const (
	isBackup    fitness = 1 << iota
	isHeld              // refused a connection a moment ago
	isBarred            // asked to be left alone for a while
	isTried             // by this request
	isTroubled          // its checks or its ejection object
	isConfirmed         // and live traffic agrees
	isOut               // the operator took it out
)

// rank orders endpoints by their fitness; the least is the best. Backups come
// before endpoints that refused a moment ago, and these before those that the
// request was tried at: what has just failed is as good as out.
type rank uint8

const (
	rankFirst  rank = 0
	rankBackup rank = 1
	rankHeld   rank = 2
	rankTried  rank = 4
	// rankTrial is an endpoint that is down by all evidence. One attempt per
	// second finds out whether it still is.
	rankTrial rank = 8
	// rankNone is not to be used.
	rankNone rank = 9
)

func (r rank) backup() bool { return r < rankTrial && r&rankBackup != 0 }

// rank is how fit an endpoint is. alarm is that of [panicking]; other demands an
// endpoint that was not tried.
func (f fitness) rank(alarm, other bool) rank {
	switch {
	case f&isOut != 0, f&isTried != 0 && other, f&isTroubled != 0 && !alarm:
		return rankNone
	case f&isTroubled != 0 && f&isConfirmed != 0:
		if f&isTried != 0 {
			return rankNone
		}
		return rankTrial
	}
	var r rank
	if f&isBackup != 0 {
		r |= rankBackup
	}
	if f&(isHeld|isBarred) != 0 {
		r |= rankHeld
	}
	if f&isTried != 0 {
		r |= rankTried
	}
	return r
}
