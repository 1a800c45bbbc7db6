package weights

import (
	"strings"
	"testing"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
)

func TestFlags(t *testing.T) {
	got, err := apptest.Parse(t, &app.App{}, newConvert, "in", "-o", "out.onnx", "--model", "m.onnx", "--overwrite")
	if want := (options{In: "in", Out: "out.onnx", Model: "m.onnx", Overwrite: true}); err != nil || got != want {
		t.Errorf("options %+v, %v", got, err)
	}
	for args, want := range map[string]string{
		"in":                    "-o OUT is missing",
		"in -o a.npz --model m": `--model: OUT "a.npz" is no .onnx file`,
	} {
		if _, err := apptest.Parse(t, &app.App{}, newConvert, strings.Fields(args)...); app.ExitCode(err) != app.ExitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", args, err, want)
		}
	}
}
