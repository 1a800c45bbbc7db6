package conformance

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Manifest holds the expected verdicts by case.
type Manifest map[string]Verdict

const header = `# What comes of every backend test of ONNX, one line each; go test ./onnxgraph/conformance -update rewrites it.
# The columns are explained at conformance.Verdict.
`

// ReadManifest reads what Write wrote.
func ReadManifest(r io.Reader) (Manifest, error) {
	out := Manifest{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != len(Columns) {
			return nil, fmt.Errorf("manifest: line %d has %d columns, expected %s", n, len(f), strings.Join(Columns, ", "))
		}
		if _, ok := out[f[0]]; ok {
			return nil, fmt.Errorf("manifest: line %d: case %s is listed twice", n, f[0])
		}
		out[f[0]] = Verdict{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]}
	}
	return out, lines.Err()
}

// Write writes verdicts as a manifest, in the order given.
func Write(w io.Writer, verdicts []Verdict) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, header, "# ", strings.Join(Columns, "\t"), "\n")
	for _, v := range verdicts {
		fmt.Fprintln(b, strings.Join(v.Row(), "\t"))
	}
	return b.Flush()
}

// Against lists what differs between a verdict and that of the manifest. A
// run may be closer than listed, as on other processors; where the system lacks
// a locale, here or where the manifest was written, nothing is said of runs.
func (m Manifest) Against(v Verdict) []string {
	want, ok := m[v.Case]
	if !ok {
		return []string{"is not in the manifest"}
	}
	var out []string
	columns := len(Columns)
	if v.Run == noLocale || want.Run == noLocale {
		columns = slices.Index(Columns, "run")
	}
	for i := range columns {
		got, listed := v.Row()[i], want.Row()[i]
		closer := got == tolerances[0].word && passed(listed)
		if got != listed && !closer {
			out = append(out, fmt.Sprintf("%s: %q, the manifest says %q", Columns[i], got, listed))
		}
	}
	return out
}
