package backend

import (
	"net"
	"net/http"
)

// abort ends a response that broke after its header section was sent. net/http
// closes the connection then, or resets the stream; the missing rest tells the
// client. The body of an HTTP/1.0 response may end with the connection, though:
// to such a client only a reset tells that it is not whole.
func (c *call) abort() {
	if !c.r.ProtoAtLeast(1, 1) {
		c.resetClient()
	}
	panic(http.ErrAbortHandler)
}

// resetClient closes the client's connection by a reset, where it can be had.
func (c *call) resetClient() {
	conn, _, err := c.rc.Hijack()
	if err != nil {
		return
	}
	raw := conn
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = secured.NetConn() // a TLS close would announce a regular end
	}
	if tcp, ok := raw.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	raw.Close()
}
