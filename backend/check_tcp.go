package backend

import "fmt"

// checkTCP makes a connection and closes it.
func (a *attempt) checkTCP() (finding, error) {
	raw, conn, err := a.dial(false)
	if err != nil {
		return finding{}, err
	}
	at := raw.RemoteAddr().String()
	if conn != raw {
		at += " with TLS"
	}
	if proto := negotiated(conn); proto != "" {
		at = fmt.Sprintf("%s (%s)", at, proto)
	}
	raw.Close()
	if at == "" { // a Unix socket
		at = a.ep.addr
	}
	return finding{true, "connected to " + at}, nil
}
