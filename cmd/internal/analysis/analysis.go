// Package analysis makes the pictures of a bench and of an acceleration that
// kept states: trajectories of parameters, embeddings of graphs and nodes, and
// errors of forecasts.
package analysis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/nino/analysis"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
	"ninox/training/plot"
)

// Context is the number of states that a nowcast looks back on.
const Context = 5

// Subject is what pictures are of: runs of one task.
type Subject struct {
	Task     string
	Graph    *neuralgraph.NiNo
	Networks []*nino.Weights
	Period   int   // steps from one nowcast to the next
	Runs     []Run // plain training first
}

// Run is one run and its colour.
type Run struct {
	Name  string
	Dir   string
	Color int
}

// course is a run with the states that it kept.
type course struct {
	Run
	summary training.Summary
	steps   []int // of the states, rising
	states  []*weights.Set
}

// mostCourses is how many runs a picture shows: plain training, and those with
// nowcasts.
const mostCourses = 4

// Pictures draws what the kept states allow; nothing where there are too few.
func Pictures(ctx context.Context, engine *ort.Engine, s Subject) ([]plot.Picture, error) {
	courses, err := s.courses()
	if err != nil {
		return nil, err
	}
	if len(courses) == 0 || len(courses[0].states) < Context {
		return nil, nil
	}
	var out []plot.Picture
	for _, draw := range []func(context.Context, *ort.Engine, []course) ([]plot.Picture, error){s.trajectories, s.embeddings, s.nodes, s.forecasts} {
		p, err := draw(ctx, engine, courses)
		if err != nil {
			return nil, fmt.Errorf("pictures of %s: %w", s.Task, err)
		}
		out = append(out, p...)
	}
	return out, nil
}

// courses reads the states of plain training and of the runs with nowcasts.
func (s *Subject) courses() ([]course, error) {
	var out []course
	for i, r := range s.Runs {
		rec, err := training.ReadRun(r.Dir)
		if errors.Is(err, fs.ErrNotExist) { // diverged
			continue
		}
		if err != nil {
			return nil, err
		}
		if i > 0 && len(rec.Summary.Nowcasts) == 0 || len(out) == mostCourses {
			continue
		}
		c := course{Run: r, summary: rec.Summary}
		if err := c.read(); err != nil {
			return nil, err
		}
		if len(c.states) > 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

// read reads RUN/states.
func (c *course) read() error {
	files, err := os.ReadDir(filepath.Join(c.Dir, "states"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		var step int
		if n, err := fmt.Sscanf(f.Name(), "step_%d.safetensors", &step); n != 1 || err != nil {
			continue
		}
		s, _, err := weights.ReadSafetensors(filepath.Join(c.Dir, "states", f.Name()))
		if err != nil {
			return err
		}
		c.steps, c.states = append(c.steps, step), append(c.states, s)
	}
	return nil
}

// parameters are the names of the graph's parameters, in the order of their
// layers.
func (s *Subject) parameters() []string {
	var out []string
	seen := map[string]bool{"": true}
	for i := range s.Graph.Blocks {
		if p := s.Graph.Blocks[i].Parameter; !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// flat is a state as one row.
func flat(s *weights.Set, names []string) ([]float32, error) {
	var out []float32
	for _, n := range names {
		v, err := s.Floats(n)
		if err != nil {
			return nil, err
		}
		out = append(out, v...)
	}
	return out, nil
}

// trajectories are the parameters in their first two principal components.
func (s *Subject) trajectories(_ context.Context, _ *ort.Engine, courses []course) ([]plot.Picture, error) {
	var rows [][]float32
	names := s.parameters()
	for _, c := range courses {
		for _, state := range c.states {
			row, err := flat(state, names)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	p, err := analysis.Project(rows)
	if err != nil {
		return nil, err
	}
	plane := plot.Plane{Title: s.Task + ": parameter trajectories", X: component(1, p), Y: component(2, p)}
	at := 0
	for _, c := range courses {
		path := c.path(p.Points[at:at+len(c.states)], c.steps)
		path.Jumps = c.jumps()
		at += len(c.states)
		plane.Paths = append(plane.Paths, path)
	}
	return []plot.Picture{{
		Title: plane.Title, SVG: plane.SVG(), Legend: legend(courses),
		Text: "All parameters after the kept steps, in the first two principal components of all runs shown; large discs are the first states. Dashed arrows are nowcasts (where the states before and after it were kept), hollow ones those that the safeguard undid later: the line goes straight back.",
	}}, nil
}

// component names an axis.
func component(n int, p *analysis.Projection) string {
	return fmt.Sprintf("component %d, %.0f %% of the variance", n, 100*p.Explained[n-1])
}

func (c *course) path(points [][2]float64, steps []int) plot.Path {
	p := plot.Path{Name: c.Name, Color: c.Color}
	for i, q := range points {
		p.Points = append(p.Points, plot.Point{X: q[0], Y: q[1]})
		p.Texts = append(p.Texts, fmt.Sprintf("step %d", steps[i]))
	}
	return p
}

// jumps are the nowcasts with a kept state right before and after them.
func (c *course) jumps() []plot.Jump {
	var out []plot.Jump
	for _, n := range c.summary.Nowcasts {
		i, found := slices.BinarySearch(c.steps, n.Step)
		if !found || i == 0 || c.steps[i-1] != n.Step-1 {
			continue
		}
		out = append(out, plot.Jump{From: i - 1, Open: !n.Accepted, Text: fmt.Sprintf("%s, step %d: nowcast, horizon %d", c.Name, n.Step, n.K)})
	}
	return out
}

func legend(courses []course) []plot.Entry {
	var out []plot.Entry
	for _, c := range courses {
		out = append(out, plot.Entry{Name: c.Name, Color: c.Color})
	}
	return out
}

// spaced are the states at multiples of the distance between a nowcast's
// states.
func (s *Subject) spaced(c course) (states []*weights.Set, steps []int) {
	spacing := max(1, s.Period/Context)
	for i, step := range c.steps {
		if step%spacing == 0 {
			states, steps = append(states, c.states[i]), append(steps, step)
		}
	}
	return states, steps
}

// network is the first of the networks with messages and without word
// positions, nil where there is none.
func (s *Subject) network() *nino.Weights {
	i := slices.IndexFunc(s.Networks, func(w *nino.Weights) bool { return w.Variant == nino.VariantGNN && w.Words == 0 })
	if i < 0 {
		return nil
	}
	return s.Networks[i]
}

// mostWindows is how many windows of a run are embedded.
const mostWindows = 16

// embeddings are the runs as the network sees them: the mean of its nodes'
// values for windows of states.
func (s *Subject) embeddings(ctx context.Context, engine *ort.Engine, courses []course) ([]plot.Picture, error) {
	w := s.network()
	if w == nil || s.edges() > mostEdges {
		return nil, nil
	}
	h, err := nino.NewHidden(engine, w, s.Graph)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var rows [][]float32
	var ends [][]int
	for _, c := range courses {
		states, steps := s.spaced(c)
		var at []int
		windows := len(states) - w.Context + 1
		for i := range min(windows, mostWindows) {
			start := i * (windows - 1) / max(1, min(windows, mostWindows)-1)
			values, width, err := h.Nodes(ctx, states[start:start+w.Context])
			if err != nil {
				return nil, err
			}
			rows, at = append(rows, meanRow(values, width)), append(at, steps[start+w.Context-1])
		}
		ends = append(ends, at)
	}
	if len(rows) < 2 {
		return nil, nil
	}
	p, err := analysis.Project(rows)
	if err != nil {
		return nil, err
	}
	plane := plot.Plane{Title: s.Task + ": graph embeddings", X: component(1, p), Y: component(2, p)}
	at := 0
	for i, c := range courses {
		plane.Paths = append(plane.Paths, c.path(p.Points[at:at+len(ends[i])], ends[i]))
		at += len(ends[i])
	}
	return []plot.Picture{{
		Title: plane.Title, SVG: plane.SVG(), Legend: legend(courses),
		Text: fmt.Sprintf("What NiNo sees: the mean over all neurons of its last values of them, for windows of %d states each, in the first two principal components. Large discs are the first windows.", w.Context),
	}}, nil
}

func meanRow(values []float32, width int) []float32 {
	sum := make([]float64, width)
	for i, v := range values {
		sum[i%width] += float64(v)
	}
	out := make([]float32, width)
	for i, v := range sum {
		out[i] = float32(v / float64(len(values)/width))
	}
	return out
}

// mostEdges is the largest graph whose nodes are embedded: the network keeps
// some kilobytes for each edge.
const mostEdges = 100_000

func (s *Subject) edges() int {
	n := s.Graph.Nodes
	for i := range s.Graph.Blocks {
		n += s.Graph.Blocks[i].Edges()
	}
	return n
}

// mostNodes is how many nodes a picture shows.
const mostNodes = 1200

// nodes are the neurons, by their positional features and as the network sees
// them after the last states of plain training.
func (s *Subject) nodes(ctx context.Context, engine *ort.Engine, courses []course) ([]plot.Picture, error) {
	positions := s.Graph.Eigenvectors()
	width := len(positions) / max(1, s.Graph.Nodes)
	places := make([][2]float64, s.Graph.Nodes)
	for i := range places {
		places[i] = [2]float64{float64(positions[i*width]), float64(positions[i*width+1])}
	}
	plane := plot.Plane{Title: s.Task + ": neurons by their place in the graph", X: "first Laplacian feature", Y: "second Laplacian feature"}
	out := []plot.Picture{s.nodePicture(plane, places,
		"Each point is a neuron: the smoothest two of its Laplacian features, coloured by layer. Many neurons of a layer lie on one another; the further features tell them apart.")}
	w := s.network()
	states, _ := s.spaced(courses[0])
	if w == nil || s.edges() > mostEdges || len(states) < w.Context {
		return out, nil
	}
	h, err := nino.NewHidden(engine, w, s.Graph)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	values, width, err := h.Nodes(ctx, states[len(states)-w.Context:])
	if err != nil {
		return nil, err
	}
	rows := make([][]float32, s.Graph.Nodes)
	for i := range rows {
		rows[i] = values[i*width : (i+1)*width]
	}
	p, err := analysis.Project(rows)
	if err != nil {
		return nil, err
	}
	plane = plot.Plane{Title: s.Task + ": neurons as NiNo sees them", X: component(1, p), Y: component(2, p)}
	return append(out, s.nodePicture(plane, p.Points,
		fmt.Sprintf("Each point is a neuron: NiNo's last value of it for the last %d states of plain training, in the first two principal components.", w.Context))), nil
}

// nodePicture puts the nodes into a plane.
func (s *Subject) nodePicture(plane plot.Plane, places [][2]float64, text string) plot.Picture {
	layers, n := s.Graph.Layers, len(places)
	for i := range min(n, mostNodes) {
		node := i * n / min(n, mostNodes)
		dot := plot.Dot{Point: plot.Point{X: places[node][0], Y: places[node][1]}, Text: fmt.Sprintf("node %d", node)}
		l := slices.IndexFunc(layers, func(l neuralgraph.Layer) bool { return node >= l.First && node < l.First+l.Size })
		if l >= 0 {
			dot.Color, dot.Text = layerColor(l, len(layers)), fmt.Sprintf("%s, neuron %d", layers[l].Name, node-layers[l].First)
		}
		plane.Dots = append(plane.Dots, dot)
	}
	return plot.Picture{Title: plane.Title, Text: text, SVG: plane.SVG(), Legend: layerLegend(layers)}
}

// layerColor spreads the layers over the colours, in their order.
func layerColor(l, layers int) int { return l * plot.Colors / max(layers, plot.Colors) }

// layerLegend has an entry for each colour: the layer, or the first and the
// last of those that share it.
func layerLegend(layers []neuralgraph.Layer) []plot.Entry {
	var out []plot.Entry
	for i := 0; i < len(layers); {
		color, last := layerColor(i, len(layers)), i
		for last+1 < len(layers) && layerColor(last+1, len(layers)) == color {
			last++
		}
		name := layers[i].Name
		if last > i {
			name += " … " + layers[last].Name
		}
		out = append(out, plot.Entry{Name: name, Color: color})
		i = last + 1
	}
	return out
}

// horizons at which forecasts are judged, in intervals between states.
var horizons = []int{1, 2, 3, 5, 8, 13, 20, 30, 40}

// forecasts are the errors of forecasts on plain training, by type of layer.
func (s *Subject) forecasts(ctx context.Context, engine *ort.Engine, courses []course) ([]plot.Picture, error) {
	states, steps := s.spaced(courses[0])
	if len(states) < Context+2 {
		return nil, nil
	}
	methods := []analysis.Forecaster{analysis.Unchanged{}, nino.Linefit()}
	most := len(states) - Context
	for _, w := range s.Networks {
		n, err := nino.New(engine, w, s.Graph, nino.Options{})
		if err != nil {
			return nil, err
		}
		defer n.Close()
		if n.Context() == Context && !slices.ContainsFunc(methods, func(m analysis.Forecaster) bool { return m.Name() == n.Name() }) {
			methods, most = append(methods, n), min(most, n.Horizons())
		}
	}
	all, err := analysis.ForecastErrors(ctx, methods, states, slices.DeleteFunc(slices.Clone(horizons), func(k int) bool { return k > most }), analysis.TypesOf(s.Graph))
	if err != nil {
		return nil, err
	}
	return forecastPictures(s.Task, steps[0], methods, all), nil
}

// forecastPictures is a chart for each type of layer.
func forecastPictures(task string, spacing int, methods []analysis.Forecaster, all []analysis.Errors) []plot.Picture {
	color := map[string]int{}
	var names []plot.Entry
	for i, m := range methods {
		color[m.Name()] = i
		names = append(names, plot.Entry{Name: m.Name(), Color: i})
	}
	charts := map[neuralgraph.EdgeType]*plot.Chart{}
	var order []neuralgraph.EdgeType
	for _, e := range all {
		c := charts[e.Type]
		if c == nil {
			c = &plot.Chart{Title: fmt.Sprintf("%s: error of forecasts, %s", task, e.Type.Name()), X: fmt.Sprintf("horizon in intervals of %d steps", spacing), LogX: true, Log: true}
			charts[e.Type] = c
			order = append(order, e.Type)
		}
		var points []plot.Point
		for i, k := range e.Horizons {
			if e.Mean[i] > 0 {
				points = append(points, plot.Point{X: float64(k), Y: e.Mean[i]})
			}
		}
		c.Add(plot.Curve{Name: e.Forecast, Color: color[e.Forecast], Dots: true, Points: points})
	}
	var out []plot.Picture
	for _, kind := range slices.SortedFunc(slices.Values(order), cmp.Compare[neuralgraph.EdgeType]) {
		c := charts[kind]
		if len(c.Curves) == 0 {
			continue
		}
		out = append(out, plot.Picture{
			Title: c.Title, SVG: c.SVG(), Legend: names,
			Text: "Mean absolute error in standard deviations of the parameter, on the states of plain training: lower is better. “no change” is what a forecast has to beat.",
		})
	}
	return out
}
