// Package version implements `ninox version`.
package version

import (
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	ort "ninox/runtime"
)

// Info is what `ninox version --json` prints.
type Info struct {
	Version     string `json:"version"`
	Revision    string `json:"revision,omitempty"`
	Go          string `json:"go"`
	Platform    string `json:"platform"`
	ONNXRuntime string `json:"onnx_runtime"` // the version that ninox installs and is tested with
}

// Current describes this binary.
func Current() Info {
	info := Info{Version: "devel", Go: goruntime.Version(), Platform: goruntime.GOOS + "/" + goruntime.GOARCH, ONNXRuntime: ort.Version}
	if b, ok := debug.ReadBuildInfo(); ok {
		if v := b.Main.Version; v != "" && v != "(devel)" {
			info.Version = v
		}
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				info.Revision = s.Value
			}
		}
	}
	return info
}

// NewCommand is `ninox version`.
func NewCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of ninox and of the ONNX Runtime it uses",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := Current()
			if a.JSON {
				return json.NewEncoder(a.Out).Encode(info)
			}
			_, err := fmt.Fprintf(a.Out, "ninox %s (%s, %s), ONNX Runtime %s\n", info.Version, info.Go, info.Platform, info.ONNXRuntime)
			return err
		},
	}
}
