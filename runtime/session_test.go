package ort_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// addModel is z = x + y on float[n] and s = sum of z, a scalar.
func addModel(t testing.TB) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("add", 17)
	n := onnxgraph.Shape{onnxgraph.Sym("n")}
	x := b.Input("x", onnxgraph.Float, n)
	y := b.Input("y", onnxgraph.Float, n)
	z := b.Named("z", "Add", []string{x, y})
	s := b.Named("s", "ReduceSum", []string{z}, onnxgraph.IntAttr("keepdims", 0))
	b.Output(z, onnxgraph.Float, n)
	b.Output(s, onnxgraph.Float, onnxgraph.StaticShape())
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newSession(t testing.TB, m *onnxgraph.Model) *ort.Session {
	t.Helper()
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func floats(t testing.TB, dims []int64, data ...float32) *ort.Value {
	t.Helper()
	v, err := ort.FloatValue(dims, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestRun(t *testing.T) {
	s := newSession(t, addModel(t))
	in := map[string]*ort.Value{"x": floats(t, []int64{3}, 1, 2, 3), "y": floats(t, []int64{3}, 10, 20, 30)}
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 2 || !slices.Equal(out["z"].Floats(), []float32{11, 22, 33}) || !slices.Equal(out["z"].Dims(), []int64{3}) {
		t.Errorf("z = %v", out["z"].Floats())
	}
	if got := out["s"]; len(got.Dims()) != 0 || got.Floats()[0] != 66 {
		t.Errorf("s = %v%v, want the scalar 66", got, got.Floats())
	}
}

func newEngine(t testing.TB, threads int) *ort.Engine {
	t.Helper()
	runtimetest.Engine(t) // skips where there is no library
	e, err := ort.Open(context.Background(), ort.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRunSomeOutputs(t *testing.T) {
	s := newSession(t, addModel(t))
	x := floats(t, []int64{2}, 1, 2)
	out, err := s.Run(context.Background(), map[string]*ort.Value{"x": x, "y": x}, "s")
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 1 || out["s"].Floats()[0] != 6 {
		t.Errorf("outputs %v", out)
	}
	if !slices.Equal(s.Inputs(), []string{"x", "y"}) || !slices.Equal(s.Outputs(), []string{"z", "s"}) {
		t.Errorf("inputs %v, outputs %v", s.Inputs(), s.Outputs())
	}
}

func TestNames(t *testing.T) {
	s := newSession(t, addModel(t))
	x := floats(t, []int64{1}, 1)
	for _, c := range []struct {
		in      map[string]*ort.Value
		outputs []string
		want    ort.NamesError
		text    string
	}{
		{nil, nil, ort.NamesError{Session: "add", Kind: "input", Missing: []string{"x", "y"}, Known: []string{"x", "y"}},
			`session "add": input "x", "y" not given`},
		{map[string]*ort.Value{"x": x, "Y": x, "q": x}, nil,
			ort.NamesError{Session: "add", Kind: "input", Missing: []string{"y"}, Unknown: []string{"Y", "q"}, Known: []string{"x", "y"}},
			`session "add": input "y" not given; no input "Y", "q", the model has "x", "y"`},
		{map[string]*ort.Value{"x": x, "y": x}, []string{"z", "loss"},
			ort.NamesError{Session: "add", Kind: "output", Unknown: []string{"loss"}, Known: []string{"z", "s"}},
			`session "add": no output "loss", the model has "z", "s"`},
	} {
		_, err := s.Run(context.Background(), c.in, c.outputs...)
		var got *ort.NamesError
		if !errors.As(err, &got) || !reflect.DeepEqual(*got, c.want) || err.Error() != c.text {
			t.Errorf("error %v (%+v), want %s", err, got, c.text)
		}
	}
}

// TestMismatches gives values that the declaration of the input excludes.
func TestMismatches(t *testing.T) {
	s := newSession(t, identity(t, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(3)}))
	ints, err := ort.Int64Value([]int64{2, 3}, make([]int64, 6))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		v   *ort.Value
		got string
	}{
		{ints, "int64[2,3]"},
		{floats(t, []int64{3}, 1, 2, 3), "float[3]"},
		{floats(t, []int64{1, 4}, 1, 2, 3, 4), "float[1,4]"},
	} {
		_, err := s.Run(context.Background(), map[string]*ort.Value{"x": c.v})
		var got *ort.ValueError
		want := ort.ValueError{Session: "identity", Kind: "input", Name: "x", Got: c.got, Want: "float[batch,3]"}
		if !errors.As(err, &got) || *got != want {
			t.Errorf("error %v, want %v", err, &want)
		}
	}
}

// TestRuntimeMessages checks that what only ONNX Runtime can find comes with
// its own words.
func TestRuntimeMessages(t *testing.T) {
	s := newSession(t, addModel(t))
	_, err := s.Run(context.Background(), map[string]*ort.Value{"x": floats(t, []int64{2}, 1, 2), "y": floats(t, []int64{3}, 1, 2, 3)})
	var run *ort.RunError
	if !errors.As(err, &run) || run.Session != "add" || run.Stage != "run" || !strings.Contains(run.Message, "Add node") {
		t.Errorf("shapes that do not broadcast: %v", err)
	}

	b := onnxgraph.NewBuilder("strange", 17)
	b.Output(b.Op("NoSuchOperator", []string{b.Input("x", onnxgraph.Float, nil)}), onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	_, err = runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if !errors.As(err, &run) || run.Session != "strange" || run.Stage != "load" || !strings.Contains(run.Message, "NoSuchOperator") ||
		strings.HasPrefix(run.Message, "Error creating") {
		t.Errorf("unknown operator: %v", err)
	}
}

// TestInputWithDefault runs a model whose input y is an initializer as well.
func TestInputWithDefault(t *testing.T) {
	m := addModel(t)
	m.Graph.Initializers = append(m.Graph.Initializers, onnxgraph.Floats("y", []int64{1}, []float32{100}))
	s := newSession(t, m)
	x := floats(t, []int64{1}, 1)
	for _, c := range []struct {
		in   map[string]*ort.Value
		want float32
	}{{map[string]*ort.Value{"x": x}, 101}, {map[string]*ort.Value{"x": x, "y": x}, 2}} {
		out, err := s.Run(context.Background(), c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := out["z"].Floats()[0]; got != c.want {
			t.Errorf("z = %v, want %v", got, c.want)
		}
	}
}

// TestExternalData loads a model whose tensors came from other files.
func TestExternalData(t *testing.T) {
	b := onnxgraph.NewBuilder("external", 17)
	w := onnxgraph.Floats("w", []int64{2}, []float32{3, 4})
	w.External = &onnxgraph.External{Location: "nowhere.data", Length: -1}
	b.Output(b.Named("y", "Mul", []string{b.Input("x", onnxgraph.Float, onnxgraph.StaticShape(2)), b.Init(w)}), onnxgraph.Float, onnxgraph.StaticShape(2))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	out, err := newSession(t, m).Run(context.Background(), map[string]*ort.Value{"x": floats(t, []int64{2}, 1, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if got := out["y"].Floats(); !slices.Equal(got, []float32{3, 8}) {
		t.Errorf("y = %v", got)
	}
	if w.External == nil {
		t.Error("the model was changed")
	}
}

// endless is a model that counts, and would for years.
func endless(t testing.TB) *onnxgraph.Model {
	t.Helper()
	scalar := func(name string, d onnxgraph.DType) *onnxgraph.Value {
		return &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(d, onnxgraph.StaticShape())}
	}
	body := &onnxgraph.Graph{
		Name:   "body",
		Inputs: []*onnxgraph.Value{scalar("i", onnxgraph.Int64), scalar("go", onnxgraph.Bool), scalar("sum", onnxgraph.Float)},
		Nodes: []*onnxgraph.Node{
			{Name: "same", OpType: "Identity", Inputs: []string{"go"}, Outputs: []string{"going"}},
			{Name: "sine", OpType: "Sin", Inputs: []string{"sum"}, Outputs: []string{"next"}},
		},
		Outputs: []*onnxgraph.Value{scalar("going", onnxgraph.Bool), scalar("next", onnxgraph.Float)},
	}
	b := onnxgraph.NewBuilder("endless", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.StaticShape())
	n := b.Init(onnxgraph.Int64s("n", []int64{}, []int64{1 << 60}))
	b.Output(b.Named("y", "Loop", []string{n, "", x}, onnxgraph.GraphAttr("body", body)), onnxgraph.Float, onnxgraph.StaticShape())
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCancel(t *testing.T) {
	s := newSession(t, endless(t))
	x, y := floats(t, nil, 1), floats(t, nil, 0)
	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(b.Input("x", x), b.Output("y", y)); err != nil {
		t.Fatal(err)
	}
	runs := map[string]func(context.Context) error{
		"session": func(ctx context.Context) error {
			_, err := s.Run(ctx, map[string]*ort.Value{"x": x})
			return err
		},
		"binding": b.Run,
	}
	for name, run := range runs {
		for range 2 { // the second run shows that the first one's end is not remembered as an order
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			start := time.Now()
			err := run(ctx)
			cancel()
			if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d < 40*time.Millisecond {
				t.Errorf("%s: error %v after %v, want one about the deadline after 50ms", name, err, d)
			}
			if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v from a run under a past deadline", name, err)
			}
		}
	}
}

// TestRunAfterCancel checks that a binding works after a run that was ended.
func TestRunAfterCancel(t *testing.T) {
	s := newSession(t, addModel(t))
	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	x, z := floats(t, []int64{1}, 1), floats(t, []int64{1}, 0)
	if err := errors.Join(b.Input("x", x), b.Input("y", x), b.Output("z", z)); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		go cancel() // at some time before, during or after the run
		if err := b.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cancel()
		x.Floats()[0] = float32(i)
		if err := b.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if z.Floats()[0] != float32(2*i) {
			t.Fatalf("run %d: z = %v", i, z.Floats()[0])
		}
	}
}

// TestConcurrentRuns runs one session from several goroutines, on values that
// they share.
func TestConcurrentRuns(t *testing.T) {
	s := newSession(t, addModel(t))
	shared := floats(t, []int64{1}, 1000)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			b, err := s.Bind()
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			x, z := floats(t, []int64{1}, 0), floats(t, []int64{1}, 0)
			if err := errors.Join(b.Input("x", x), b.Input("y", shared), b.Output("z", z)); err != nil {
				t.Error(err)
				return
			}
			for i := range 300 {
				n := float32(g*1000 + i)
				x.Floats()[0] = n
				if err := b.Run(context.Background()); err != nil || z.Floats()[0] != n+1000 {
					t.Errorf("binding: z = %v, error %v, want %v", z.Floats()[0], err, n+1000)
					return
				}
				out, err := s.Run(context.Background(), map[string]*ort.Value{"x": x, "y": shared}, "z")
				if err != nil || out["z"].Floats()[0] != n+1000 {
					t.Errorf("session: %v, error %v, want %v", out, err, n+1000)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestClosedSession(t *testing.T) {
	s := newSession(t, addModel(t))
	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	x := floats(t, []int64{1}, 1)
	s.Close()
	s.Close()
	_, bindErr := s.Bind()
	_, runErr := s.Run(context.Background(), map[string]*ort.Value{"x": x, "y": x})
	for _, err := range []error{bindErr, runErr, b.Input("x", x), b.Run(context.Background())} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("error %v, want one that says closed", err)
		}
	}
	b.Close() // after the session
	b.Close()
}

func TestSessionProfile(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "profile")
	s, err := runtimetest.Engine(t).NewSession(addModel(t), ort.SessionOptions{Profile: prefix, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	x := floats(t, []int64{1}, 1)
	if _, err := s.Run(context.Background(), map[string]*ort.Value{"x": x, "y": x}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	found, err := filepath.Glob(prefix + "*")
	if err != nil || len(found) != 1 {
		t.Errorf("files %v, error %v, want one", found, err)
	}
}
