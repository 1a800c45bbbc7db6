package check

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
)

func TestArguments(t *testing.T) {
	got, err := apptest.Parse(t, &app.App{}, newCommand, "m.onnx")
	if err != nil || got.Model != "m.onnx" {
		t.Errorf("options %+v, %v", got, err)
	}
	if _, err := apptest.Parse(t, &app.App{}, newCommand); err == nil || !strings.Contains(err.Error(), "accepts 1 arg") {
		t.Errorf("error %v", err)
	}
}

// Where nothing else is wrong, the rules of the operators have their say; and
// not where some are unknown.
func TestInference(t *testing.T) {
	const header = `<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>` + "\n"
	for src, want := range map[string]string{
		`g (float[2,3] x) => (float[N] y) { y = MatMul (x, x) }`:                              `check: node "y" (MatMul-17): `,
		`g (float[2] x) => (float[3] y) { y = Neg (x) }`:                                      `check: node "y" (Neg-17): output "y" is float[2]`,
		`g (float[2] x) => (float[2] y) { y = Neg (x) }`:                                      "no findings\n",
		`g (float[2] x) => (float[2] y) { s = SequenceConstruct (x)` + "\n" + `y = Neg (s) }`: `check: node "y" (Neg-17): input 0 (X) is seq(float), expected`,
		`g (float[2] x) => (float[3] y) { h = com.example.Op (x)` + "\n" + `y = Neg (x) }`:    "no findings; shapes were not inferred, since operators are unknown\n",
		`g (float[2] x) => (float[3] y) { y = Neg (h)` + "\n" + `h = Abs (x) }`:               `output "y" is float[2], but the file declares float[3]`,
	} {
		file := filepath.Join(t.TempDir(), "m.onnxtxt")
		if err := os.WriteFile(file, []byte(header+src), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := run(t.Context(), &app.App{Out: &out}, options{Model: file})
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s:\n%s, expected %s", src, out.String(), want)
		}
		if valid := strings.HasPrefix(want, "no findings"); valid != (err == nil) || !valid && app.ExitCode(err) != app.ExitUnsupported {
			t.Errorf("%s: error %v", src, err)
		}
	}
}
