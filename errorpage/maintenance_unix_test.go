//go:build unix

package errorpage

import "syscall"

func init() {
	fileTrouble["pipe"] = func(path string) error { return syscall.Mkfifo(path, 0o600) }
}
