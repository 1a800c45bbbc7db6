package nino

import (
	"context"

	ort "ninox/runtime"
)

// values closes inputs after a run.
type values map[string]*ort.Value

func (v values) close() {
	for _, x := range v {
		x.Close()
	}
}

// floats adds a float input; the first error stays.
func (v values) floats(err *error, name string, data []float32, dims ...int) {
	if *err == nil {
		v[name], *err = ort.FloatValue(sizes(dims), data)
	}
}

func (v values) ints(err *error, name string, data []int64, dims ...int) {
	if *err == nil {
		v[name], *err = ort.Int64Value(sizes(dims), data)
	}
}

func sizes(dims []int) []int64 {
	out := make([]int64, len(dims))
	for i, d := range dims {
		out[i] = int64(d)
	}
	return out
}

// run runs a session and returns its float outputs.
func run(ctx context.Context, s *ort.Session, in values) (map[string][]float32, error) {
	out, err := s.Run(ctx, in)
	if err != nil {
		return nil, err
	}
	defer values(out).close()
	floats := make(map[string][]float32, len(out))
	for name, v := range out {
		floats[name] = v.Floats() // which outlive the value
	}
	return floats, nil
}
