package backend

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(outOfFilesEnv); url != "" {
		outOfFiles(url)
		return
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("12") // most of the tests wait for sockets and timers
	}
	goleak.VerifyTestMain(m)
}
