package training

import (
	"context"
	"slices"
	"testing"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training/data"
)

// lockstep runs two executors of the same artifacts and compares them.
type lockstep struct {
	t               *testing.T
	resident, plain *Executor
	batches         []map[string]*ort.Value
	compared        int
}

func (l *lockstep) both(do func(e *Executor) (any, error)) {
	l.t.Helper()
	got, err := do(l.resident)
	if err != nil {
		l.t.Fatal(err)
	}
	want, err := do(l.plain)
	if err != nil {
		l.t.Fatal(err)
	}
	if g, ok := got.(*weights.Set); ok {
		l.sameSets(g, want.(*weights.Set))
	} else if got != want {
		l.t.Fatalf("%v, in host memory %v", got, want)
	}
}

func (l *lockstep) sameSets(got, want *weights.Set) {
	l.t.Helper()
	if got == nil && want == nil {
		return
	}
	if !slices.Equal(got.Names(), want.Names()) {
		l.t.Fatalf("arrays %q, in host memory %q", got.Names(), want.Names())
	}
	for _, name := range want.Names() {
		g, errG := got.Floats(name)
		w, errW := want.Floats(name)
		if errG != nil || errW != nil || !slices.Equal(g, w) {
			l.t.Fatalf("%s differs from that in host memory (%v, %v)", name, errG, errW)
		}
		l.compared += len(w)
	}
}

func (l *lockstep) compare() {
	l.t.Helper()
	for _, get := range []func(*Executor) (*weights.Set, error){(*Executor).State, (*Executor).Moments, (*Executor).Buffers, (*Executor).Result} {
		l.both(func(e *Executor) (any, error) { return get(e) })
	}
	l.both(func(e *Executor) (any, error) {
		loss, out, err := e.Eval(context.Background(), l.batches[0])
		for _, v := range out {
			v.Close()
		}
		return loss, err
	})
}

// A state in the device's memory is trained, read and changed like one in host
// memory, bit by bit. Where there is no GPU, ONNX Runtime's own memory on the
// processor stands in for it: the bindings are the same, the copies are real.
func TestResidentState(t *testing.T) {
	for name, o := range map[string]ArtifactOptions{"adamw": {}, "schedule-free": {Optimizer: Optimizer{Kind: ScheduleFree}}, "momentum": {Optimizer: Optimizer{Kind: SGD, Momentum: 0.9}}} {
		for _, workers := range []int{1, 2} {
			c := normConfig(t, ExecutorOptions{})
			model := normModel(t)
			if workers > 1 {
				model = formulaModel(t, "fm-16")
			}
			a := mustArtifacts(t, model, o)
			l := &lockstep{t: t, resident: mustExecutor(t, a, ExecutorOptions{Workers: workers, resident: true}), plain: mustExecutor(t, a, ExecutorOptions{Workers: workers})}
			if workers > 1 {
				l.batches = formulaBatches(t, 4, 32)
			} else {
				d, err := data.Bind(c.Train, a.BatchInputs())
				if err != nil {
					t.Fatal(err)
				}
				for i := range 4 {
					l.batches = append(l.batches, sliceValues(t, d, 16*i, 16))
				}
			}
			l.compare()
			for _, b := range l.batches {
				l.both(func(e *Executor) (any, error) { return e.Step(context.Background(), b, 1e-2) })
			}
			l.compare()
			l.both(func(e *Executor) (any, error) {
				losses, err := e.StepAccumulated(context.Background(), l.batches[:3], 1e-2)
				return mean(losses), err
			})
			l.compare()
			l.both(func(e *Executor) (any, error) { // one of the parameters changes, the others stay as the device has them
				s, err := e.State()
				if err != nil {
					return nil, err
				}
				v, err := s.Floats(s.Names()[0])
				for i := range v {
					v[i] /= 2
				}
				if err == nil {
					err = e.SetState(s)
				}
				return nil, err
			})
			l.both(func(e *Executor) (any, error) { return e.Step(context.Background(), l.batches[1], 1e-2) })
			l.both(func(e *Executor) (any, error) {
				c, err := e.Checkpoint(1e-2)
				if err != nil {
					return nil, err
				}
				return len(c.Trainable), e.restore(c)
			})
			l.compare()
			if l.compared == 0 {
				t.Errorf("%s: nothing was compared", name)
			}
		}
	}
}
