// Command routers shows Holdfast with chi and with gin: around the router, inside
// of it, and with the router as a backend. It serves the same small site each way.
package main

import (
	"flag"
	"log"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	with := flag.String("with", "inside-gin", "one of around-chi, inside-chi, around-gin, inside-gin, behind-gin")
	flag.Parse()
	assemble, ok := builds[*with]
	if !ok {
		log.Fatalf("-with is %q: must be one of %q", *with, slices.Sorted(maps.Keys(builds)))
	}
	gin.SetMode(gin.ReleaseMode)
	h, _, err := assemble(&site{})
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: http://%s/items/1", *with, *addr)
	srv := &http.Server{Addr: *addr, Handler: h, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}
