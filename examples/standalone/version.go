package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// versionLine says what was built: the module's version, the commit where the
// build knew it, the Go release and the platform.
func versionLine() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return formatVersion(info)
}

func formatVersion(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = ", commit " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	return fmt.Sprintf("holdfast %s (%s %s/%s%s%s)", version, info.GoVersion, runtime.GOOS, runtime.GOARCH, commit, changed)
}
