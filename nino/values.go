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

// run runs a session and copies its float outputs out.
func run(ctx context.Context, s *ort.Session, in values) (map[string][]float32, error) {
	out, err := s.Run(ctx, in)
	if err != nil {
		return nil, err
	}
	defer values(out).close()
	copies := map[string][]float32{}
	for name, v := range out {
		copies[name] = append([]float32(nil), v.Floats()...)
	}
	return copies, nil
}
