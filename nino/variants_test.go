package nino

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// variant is a network of the reference's with its settings.
type variant struct {
	name string
	args map[string]string
	want Config
}

// variants are the networks that the reference's settings can make.
func variants() []variant {
	gnn := Config{Variant: VariantGNN, Width: 16, Layers: 3, Context: 5, Horizons: 8, Taps: 9, EdgeTypes: 15, Positions: 8, Scaling: ScaleLayerwise}
	with := func(change func(*Config)) Config {
		c := gnn
		change(&c)
		return c
	}
	return []variant{
		{"word positions", map[string]string{"wte_pos_enc": "True", "vocab_size": "60", "seq_len": "8", "hid": "16"}, with(func(c *Config) { c.Words = 61 })},
		{"no word positions", map[string]string{"wte_pos_enc": "False"}, gnn},
		{"width 32", map[string]string{"hid": "32", "wte_pos_enc": "False"}, with(func(c *Config) { c.Width = 32 })},
		{"four towers", map[string]string{"towers": "4"}, with(func(c *Config) { c.Towers = 4 })},
		{"final edge update", map[string]string{"final_edge_update": "True"}, with(func(c *Config) { c.FinalUpdate = true })},
		{"no edge types", map[string]string{"edge_types": "0"}, with(func(c *Config) { c.Untyped = true })},
		{"no Laplacian features", map[string]string{"lpe": "0", "wte_pos_enc": "True", "vocab_size": "60"}, with(func(c *Config) { c.Unplaced, c.Words = true, 61 })},
		{"no node features", map[string]string{"lpe": "0", "wte_pos_enc": "False"}, with(func(c *Config) { c.Unplaced = true })},
		{"half the update", map[string]string{"upd_scale": "0.5"}, with(func(c *Config) { c.UpdateScale = 0.5 })},
		{"scaled per parameter", map[string]string{"scale_method": "std-param"}, with(func(c *Config) { c.Scaling = ScaleParameter })},
		{"WNN+", map[string]string{"gnn": "False"}, Config{Variant: VariantMLP, Width: 16, Layers: 4, Context: 5, Horizons: 8, Taps: 1, EdgeTypes: 15, Scaling: ScaleLayerwise}},
		{"WNN+ without edge types", map[string]string{"gnn": "False", "edge_types": "0"}, Config{Variant: VariantMLP, Width: 16, Layers: 4, Context: 5, Horizons: 8, Taps: 1, EdgeTypes: 15, Untyped: true, Scaling: ScaleLayerwise}},
	}
}

// weights makes random weights of the variant.
func (v *variant) weights(t testing.TB) *Weights {
	t.Helper()
	w, err := NewWeights(randomTensors(rand.New(rand.NewPCG(21, 22)), v.want), v.args)
	if err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	return w
}

// Every variant is recognised, and comes back the same from each kind of file
// that ninox writes.
func TestVariantsRoundTrip(t *testing.T) {
	for _, v := range variants() {
		w := v.weights(t)
		if w.Config != v.want {
			t.Errorf("%s: described as %+v, expected %+v", v.name, w.Config, v.want)
		}
		dir := t.TempDir()
		for name, write := range map[string]func(string, bool) error{
			"own.safetensors": w.Write, "reference.safetensors": w.WriteReference, "reference.pt": w.WriteReference,
		} {
			path := filepath.Join(dir, name)
			if err := write(path, false); err != nil {
				t.Fatal(err)
			}
			again, err := Import(path)
			if err != nil {
				t.Fatalf("%s: %s: %v", v.name, name, err)
			}
			sameWeights(t, w, again)
			if err := write(path, false); err == nil {
				t.Errorf("%s was written twice", name)
			}
		}
		_, meta, err := weights.ReadSafetensors(filepath.Join(dir, "reference.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := meta[configKey]; ok || len(meta) != len(v.args) {
			t.Errorf("%s: the reference's file has metadata %v, expected the settings %v", v.name, meta, v.args)
		}
	}
}

// Settings that the tensors contradict are refused.
func TestVariantsRefused(t *testing.T) {
	for _, c := range []struct{ variant, key, value, want string }{
		{"four towers", "towers", "2", `towers is "2", the tensors and ninox's network say "4"`},
		{"no word positions", "final_edge_update", "True", "final_edge_update"},
		{"word positions", "seq_len", "9", "seq_len"},
		{"word positions", "vocab_size", "61", "vocab_size"},
		{"half the update", "upd_scale", "much", `upd_scale is "much"`},
		{"no word positions", "edge_types", "0", "edge_types"},
		{"no edge types", "edge_types", "15", `"layer_embed.weight" is missing`},
	} {
		for _, v := range variants() {
			if v.name != c.variant {
				continue
			}
			set := v.weights(t).Tensors
			v.args[c.key] = c.value
			if _, err := NewWeights(set, v.args); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s with %s = %s: error %v, expected %q", c.variant, c.key, c.value, err, c.want)
			}
		}
	}
}

// The edges form of every variant computes the reference's formulas, here
// written once more, edge by edge in float64.
func TestVariantsFormula(t *testing.T) {
	engine := runtimetest.Engine(t)
	rng := rand.New(rand.NewPCG(5, 6))
	const nodes, edges, taps = 7, 30, 4
	index, types, tokens := make([]int64, 2*edges), make([]int64, edges), make([]int64, nodes)
	for e := range edges {
		index[e], index[edges+e], types[e] = int64(rng.IntN(nodes)), int64(rng.IntN(nodes)), int64(rng.IntN(14))
	}
	for n := range tokens {
		tokens[n] = int64(rng.IntN(61))
	}
	features, pos := randomFloats(rng, edges*taps*5), randomFloats(rng, nodes*8)
	for _, v := range variants() {
		w := v.weights(t)
		m, err := EdgesModel(w, DefaultOpset)
		if err != nil {
			t.Fatal(err)
		}
		s, err := engine.NewSession(m, ort.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		in := values{}
		in.floats(&err, inFeatures, features, edges, taps*5)
		in.ints(&err, inTypes, types, edges)
		in.ints(&err, inHorizon, []int64{3})
		if w.Variant == VariantGNN {
			in.ints(&err, inEdges, index, 2, edges)
			in.floats(&err, inPositions, pos, nodes, 8)
		}
		if w.Words > 0 {
			in.ints(&err, inTokens, tokens, nodes)
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(t.Context(), s, in)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		in.close()
		s.Close()
		f := &formula{w: w, args: v.args, index: index, types: types, tokens: tokens, features: features, pos: pos, nodes: nodes, taps: taps}
		want := f.predict(3)
		for i := range want {
			if d := math.Abs(want[i] - float64(out[outPred][i])); !(d < 2e-5) {
				t.Errorf("%s: number %d is %v, the formula gives %v", v.name, i, out[outPred][i], want[i])
				break
			}
		}
	}
}

func randomFloats(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

// formula evaluates a variant as the reference's modules are written.
type formula struct {
	w                    *Weights
	args                 map[string]string
	index, types, tokens []int64
	features, pos        []float32
	nodes, taps          int
}

func widen(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func sum(vs ...[]float64) []float64 {
	out := make([]float64, len(vs[0]))
	for _, v := range vs {
		for i, x := range v {
			out[i] += x
		}
	}
	return out
}

func silu(v []float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = x / (1 + math.Exp(-x))
	}
	return out
}

// layer applies a layer of the weights, of whose inputs only the first ones may
// be given.
func (f *formula) layer(name string, x []float64) []float64 {
	l := f.w.linear(name)
	return l.apply(append(append([]float64{}, x...), make([]float64, l.in-len(x))...))
}

func (f *formula) row(table string, i int64) []float64 {
	all := f.w.floats(table)
	d := int64(f.w.Width)
	return all[i*d : (i+1)*d]
}

func (f *formula) predict(k int) []float64 {
	c := &f.w.Config
	edges := len(f.types)
	scale := 1.0
	if f.args["upd_scale"] == "0.5" {
		scale = 0.5
	}
	typed := func(e int, v []float64) []float64 {
		if f.args["edge_types"] == "0" {
			return v
		}
		return sum(v, f.row("layer_embed.weight", f.types[e]))
	}
	out := make([]float64, edges*f.taps)
	feature := func(e, tap, count int) []float64 {
		at := (e*f.taps + tap) * 5
		return widen(f.features[at : at+5*count])
	}
	if c.Variant == VariantMLP {
		for e := range edges {
			for tap := range f.taps {
				h := typed(e, f.layer("edge_proj.fc.0", feature(e, tap, 1)))
				for _, l := range []string{"0", "2", "4"} {
					h = silu(f.layer("edge_mlp.fc."+l, h))
				}
				out[e*f.taps+tap] = feature(e, tap, 1)[4] + f.layer("edge_mlp.fc.6", h)[k-1]
			}
		}
		return out
	}
	x, edge := make([][]float64, f.nodes), make([][]float64, edges)
	for n := range x {
		x[n] = make([]float64, c.Width)
		if f.args["lpe"] != "0" {
			x[n] = f.layer("node_proj.fc.0", widen(f.pos[8*n:8*n+8]))
		}
		if c.Words > 0 {
			x[n] = sum(x[n], f.row(wordTable, f.tokens[n]))
		}
	}
	for e := range edge {
		edge[e] = typed(e, f.layer("edge_proj.fc.0", feature(e, 0, f.taps)))
	}
	updates := c.Layers - 1
	if f.args["final_edge_update"] == "True" {
		updates = c.Layers
	}
	for l := range updates {
		x = f.convolution(l, x, edge)
		for n := range x {
			x[n] = silu(x[n])
		}
		u := "gnn.edge_update." + string(rune('0'+l)) + "."
		for e := range edge {
			s, t := f.index[e], f.index[edges+e]
			edge[e] = f.layer(u+"lin1", silu(sum(f.layer(u+"lin_e", edge[e]), f.layer(u+"lin_s", x[s]), f.layer(u+"lin_t", x[t]))))
		}
	}
	for e := range edge {
		y := f.layer("edge_out.fc.2", silu(f.layer("edge_out.fc.0", edge[e])))
		for tap := range f.taps {
			out[e*f.taps+tap] = feature(e, tap, 1)[4] + scale*y[tap*c.Horizons+k-1]
		}
	}
	return out
}

// convolution passes messages in one or more towers, each of which sees a part
// of the nodes' values and all of the edges'.
func (f *formula) convolution(l int, x, edge [][]float64) [][]float64 {
	conv := "gnn.convs." + string(rune('0'+l)) + "."
	towers := 1
	if f.args["towers"] == "4" {
		towers = 4
	}
	part := f.w.Width / towers
	out := make([][]float64, len(x))
	for tower := range towers {
		name := func(kind string) string { return conv + kind + "." + string(rune('0'+tower)) + ".0" }
		cut := func(v []float64) []float64 { return v[tower*part : (tower+1)*part] }
		total, degree := make([][]float64, len(x)), make([]float64, len(x))
		for n := range total {
			total[n] = make([]float64, part)
		}
		for e := range edge {
			s, t := f.index[e], f.index[len(edge)+e]
			h := f.layer(name("pre_nns"), append(append([]float64{}, cut(x[t])...), cut(x[s])...))
			both := f.layer(conv+"edge_encoder", edge[e])
			for i := range part {
				total[t][i] += both[i]*h[i] + both[part+i]
			}
			degree[t]++
		}
		for n := range out {
			for i := range part {
				total[n][i] /= max(1, degree[n])
			}
			out[n] = append(out[n], f.layer(name("post_nns"), append(append([]float64{}, cut(x[n])...), total[n]...))...)
		}
	}
	for n := range out {
		out[n] = f.layer(conv+"lin", out[n])
	}
	return out
}
