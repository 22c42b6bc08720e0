package backend

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(outOfFilesEnv); url != "" {
		outOfFiles(url)
		return
	}
	goleak.VerifyTestMain(m)
}
