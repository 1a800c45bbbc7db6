package nino

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/dustin/go-humanize"

	"ninox/cmd/internal/app"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// Stream says what a step over mapped states took. Rates are floating point
// operations a second, in billions, two for each multiply-add of the network's
// products; memory is in bytes, without what the system caches of files.
type Stream struct {
	Nodes    int     `json:"nodes"`
	Edges    int     `json:"edges"`
	Expected int64   `json:"memory_expected"`
	Memory   int64   `json:"memory,omitempty"` // most that was taken; not known on every system
	Prepared float64 `json:"prepare_seconds"`  // graph and sessions
	Rate     float64 `json:"gflops,omitempty"`
	Peak     float64 `json:"peak_gflops,omitempty"` // with --peak
	Share    float64 `json:"share_of_peak,omitempty"`
	Seconds  float64 `json:"predict_seconds"` // of the prediction without writing
}

func (s *Stream) print(a *app.App) error {
	_, err := fmt.Fprintf(a.Out, "graph      %d nodes, %d edges, %.3f µs an edge\n", s.Nodes, s.Edges, 1e6*s.Seconds/float64(s.Edges))
	if err == nil && s.Memory > 0 {
		_, err = fmt.Fprintf(a.Out, "memory     %s at most, beside cached files (%s expected)\n", humanize.Bytes(uint64(s.Memory)), humanize.Bytes(uint64(s.Expected)))
	}
	if err == nil && s.Peak > 0 {
		_, err = fmt.Fprintf(a.Out, "rate       %.1f GFLOPS, %.0f %% of the %.1f that products of matrices alone reach\n", s.Rate, 100*s.Share, s.Peak)
	}
	return err
}

// memory is the bound of --memory in bytes, 0 where there is none.
func (o *stepOptions) memory() (int64, error) {
	if o.Memory == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(o.Memory)
	if err == nil && (n == 0 || n > math.MaxInt64) {
		err = errors.New("out of range")
	}
	return int64(n), err
}

// streamed predicts with a network from mapped files to a mapped file.
func (o *stepOptions) streamed(ctx context.Context, a *app.App, m *analysed, files []*weights.File) (*Step, error) {
	newest := files[len(files)-1]
	var matching *nino.Matching
	err := onnxgraph.Guarded(func() (err error) {
		matching, err = nino.MatchStates(m.trained(), files)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", o.Model, o.States[len(o.States)-1], err)
	}
	var states []nino.Arrays
	for _, f := range files {
		states = append(states, f)
	}
	if err := checkOutput(weights.LikePath(newest, o.Out), o.Overwrite); err != nil {
		return nil, err
	}
	r := reportOf(*o, matching, newest)
	r.report(a)
	return r, o.stream(ctx, a, m.graph, matching, states, newest, r)
}

// stream runs the network.
func (o *stepOptions) stream(ctx context.Context, a *app.App, g *neuralgraph.Graph, matching *nino.Matching, states []nino.Arrays, newest *weights.File, r *Step) error {
	start := time.Now()
	n, engine, err := o.nowcaster(ctx, a, g, matching)
	if err != nil {
		return err
	}
	defer n.Close()
	s := &Stream{Nodes: n.Nodes(), Edges: n.Edges(), Expected: n.Memory()}
	r.Streamed = s
	a.Notef("neural graph: %d nodes, %d edges; %s of memory beside cached files", s.Nodes, s.Edges, humanize.Bytes(uint64(s.Expected)))
	// What making the graph took must not stand in for what the step takes.
	debug.FreeOSMemory()
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(n.Heap()))
	s.Prepared = time.Since(start).Seconds()
	meta, err := r.metadata(newest.Meta)
	if err != nil {
		return err
	}
	m := watchMemory()
	start = time.Now()
	r.Path, err = newest.WriteLike(o.Out, meta, o.Overwrite, func(out *weights.File) error {
		for _, name := range matching.Rest {
			copy(out.Tensor(name).Data, newest.Tensor(name).Data)
		}
		if err := n.Predict(ctx, states, o.K, out); err != nil {
			return err
		}
		s.Seconds = time.Since(start).Seconds()
		for _, t := range matching.Tied {
			copy(out.Tensor(t.Array).Data, out.Tensor(t.Of).Data)
		}
		return r.compare(matching.Arrays(), newest, out)
	})
	s.Memory = m.stop()
	if err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	s.Rate = n.FLOPs() / s.Seconds / 1e9
	if o.Peak {
		if s.Peak, err = nino.Peak(ctx, engine, n.Width()); err != nil {
			return err
		}
		s.Peak /= 1e9
		s.Share = s.Rate / s.Peak
	}
	return nil
}

// nowcaster prepares the network for the arrays that match.
func (o *stepOptions) nowcaster(ctx context.Context, a *app.App, g *neuralgraph.Graph, matching *nino.Matching) (*nino.Nowcaster, *ort.Engine, error) {
	w, origin, err := nino.ImportOrEmbedded(o.Weights, o.Method)
	if err != nil {
		return nil, nil, err
	}
	if (o.Method == methodWNN) != (w.Variant == nino.VariantMLP) {
		return nil, nil, app.Usagef("--method %s: %s holds weights of the variant %q", o.Method, origin, w.Variant)
	}
	if o.K > w.Horizons {
		return nil, nil, app.Usagef("--k %d: %s predicts 1 to %d", o.K, origin, w.Horizons)
	}
	graph, err := g.NiNo(matching.Parameters())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Model, err)
	}
	if w.Naive() {
		graph = graph.Naive()
	}
	if o.Compat == compatReference {
		graph = nino.CompatReference(graph)
	}
	if graph, err = matching.Graph(graph); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Model, err)
	}
	engine, err := a.Engine(ctx)
	if err != nil {
		return nil, nil, err
	}
	log, err := a.Logger()
	if err != nil {
		return nil, nil, err
	}
	limit, err := o.memory()
	if err != nil {
		return nil, nil, err
	}
	n, err := nino.New(engine, w, graph, nino.Options{Log: log, Progress: progress(a), Memory: limit, Scratch: scratchFolder(o.Out)})
	return n, engine, err
}

// compare sets the norms of the newest state's parameters and of the update; an
// update that is not finite is an error.
func (r *Step) compare(arrays []string, newest, predicted nino.Arrays) error {
	var state, update float64
	for _, name := range arrays {
		s, u, err := nino.Distance(newest.Tensor(name), predicted.Tensor(name))
		if err != nil {
			return err
		}
		state += s
		update += u
	}
	r.Newest, r.Update = math.Sqrt(state), math.Sqrt(update)
	if math.IsNaN(r.Update) || math.IsInf(r.Update, 0) {
		return fmt.Errorf("the prediction is not finite (the newest state has norm %v); nothing is written", r.Newest)
	}
	return nil
}
