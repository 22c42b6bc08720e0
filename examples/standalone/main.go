// Command standalone is the parts of Holdfast put together as a reverse proxy
// that keeps a site answering while its origin is slow, broken or gone.
//
// Without arguments it is a demonstration: a small origin of its own, the proxy
// in front of it, and a page on which the origin is broken and healed. With
// -backend it is the real thing; -h lists the flags.
//
// A newcomer reads it in this order: stack.go puts the parts in line, server.go
// opens the listeners, drain.go ends without losing a request, flags.go is the
// command line, and demo.go with its origin, its control page and its visitors
// is the demonstration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // a port is taken, or the drain ran out of time
	exitUsage  = 2 // a flag is wrong
)

// run is the program: it returns its exit code when everything it started has
// ended. The end of ctx is what a first SIGTERM is.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage())
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "holdfast: %v (-h lists the flags)\n", err)
		return exitUsage
	case cfg.version:
		fmt.Fprintln(stdout, versionLine())
		return exitOK
	}
	return serve(ctx, cfg, stdout, stderr)
}
