package bench

import "strings"

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

// tailBytes is how much a tail keeps.
const tailBytes = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailBytes {
		t.b = append([]byte{}, t.b[len(t.b)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) text() string { return strings.TrimSpace(string(t.b)) }
