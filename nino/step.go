package nino

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// Options tune the step. The zero value is right for most.
type Options struct {
	// Positions are the features [Nodes, Positions] of the nodes; nil means those
	// of the graph.
	Positions []float32
	// Progress is told how much of how much work is done.
	Progress func(done, total int)
	Log      *slog.Logger // nil: silent
	// Memory is the most bytes that a prediction should take (see
	// Nowcaster.Memory), 0 for no bound. Where node values would not fit they go
	// to temporary files in the folder Scratch.
	Memory  int64
	Scratch string
}

// Nowcaster predicts the parameters of one model with the network.
type Nowcaster struct {
	config Config
	plan   *plan
	form   form
	log    *slog.Logger

	workers int
}

// form is a way to run the network over all edges of a plan.
type form interface {
	// predict fills the trajectory's result for horizon k.
	predict(ctx context.Context, tr *trajectory, k int) error
	close()
}

// New prepares the network for the model whose graph is g. Close the Nowcaster
// after use.
func New(engine *ort.Engine, w *Weights, g *neuralgraph.NiNo, o Options) (*Nowcaster, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &Nowcaster{config: w.Config, log: o.Log, workers: max(1, engine.Threads())}
	taps := w.Taps
	if w.Variant == VariantMLP {
		taps = mlpTaps
	}
	var err error
	if n.plan, err = newPlan(g, taps, w.EdgeTypes); err != nil {
		return nil, fmt.Errorf("nino: %w", err)
	}
	if n.form, err = newForm(engine, w, n.plan, g, o); err != nil {
		return nil, fmt.Errorf("nino: %w", err)
	}
	if need := n.Memory(); o.Memory > 0 && need > o.Memory {
		n.Close()
		return nil, fmt.Errorf("nino: the step takes %d bytes of memory at least, %d are allowed", need, o.Memory)
	}
	return n, nil
}

// newForm is the form that runs the variant.
func newForm(engine *ort.Engine, w *Weights, p *plan, g *neuralgraph.NiNo, o Options) (form, error) {
	if w.Variant == VariantMLP {
		return newMLPForm(engine, w, p, o)
	}
	return newTilesForm(engine, w, p, g, o)
}

// Close frees the network's sessions.
func (n *Nowcaster) Close() { n.form.close() }

// Name is the method: "nino", or "wnn+" with the MLP's weights.
func (n *Nowcaster) Name() string {
	if n.config.Variant == VariantMLP {
		return "wnn+"
	}
	return "nino"
}

// Context is the number of states that Nowcast wants.
func (n *Nowcaster) Context() int { return n.config.Context }

// Horizons is the furthest horizon.
func (n *Nowcaster) Horizons() int { return n.config.Horizons }

// Edges is the number of edges of the graph, self-loops included.
func (n *Nowcaster) Edges() int { return n.plan.edges }

// Nodes is the number of nodes of the graph.
func (n *Nowcaster) Nodes() int { return n.plan.nodes }

// Width is that of the network.
func (n *Nowcaster) Width() int { return n.config.Width }

// Nowcast predicts the parameters k intervals after the newest of the states,
// which come at equal intervals, oldest first. Arrays that are not parameters
// of the graph are copied from the newest state.
func (n *Nowcaster) Nowcast(ctx context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	if len(states) == 0 {
		return nil, fmt.Errorf("nino: no states, the network wants %d", n.config.Context)
	}
	newest := states[len(states)-1]
	values := map[string][]float32{}
	for _, name := range n.plan.parameters {
		if d := newest.Get(name); d != nil {
			values[name] = make([]float32, d.DataSize())
		}
	}
	next := replace(newest, values)
	if err := n.Predict(ctx, arraysOf(states), k, next); err != nil {
		return nil, err
	}
	return next, nil
}

// Predict is Nowcast without a copy of anything: it writes the parameters k
// intervals after the newest of the states to the arrays of into, rounded to
// their types. Beside the states it takes memory for the nodes of the graph and
// some tiles (see Memory). After an error into holds anything.
func (n *Nowcaster) Predict(ctx context.Context, states []Arrays, k int, into Arrays) error {
	if len(states) != n.config.Context {
		return fmt.Errorf("nino: %d states, the network wants %d", len(states), n.config.Context)
	}
	if k < 1 || k > n.config.Horizons {
		return fmt.Errorf("nino: horizon %d, the network predicts 1 to %d", k, n.config.Horizons)
	}
	start := time.Now()
	tr, err := newTrajectory(ctx, n.plan, n.config.Scaling, states, into, n.workers)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("nino: states do not fit the model:\n%w", err)
	}
	n.log.Debug("statistics", "seconds", time.Since(start).Seconds())
	if err := n.form.predict(ctx, tr, k); err != nil {
		return fmt.Errorf("nino: %w", err)
	}
	n.log.Debug("nowcast", "k", k, "edges", n.plan.edges, "seconds", time.Since(start).Seconds())
	return nil
}

// positionsOf are the node features that the network reads.
func positionsOf(w *Weights, g *neuralgraph.NiNo, o Options) ([]float32, error) {
	pos := o.Positions
	if pos == nil {
		pos = g.Positions()
	}
	if len(pos) != g.Nodes*w.Positions {
		return nil, fmt.Errorf("%d position features for %d nodes, the network wants %d each", len(pos), g.Nodes, w.Positions)
	}
	return pos, nil
}
