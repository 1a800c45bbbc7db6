package nino

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph/weights"
)

// Variants of the network.
const (
	VariantGNN = "gnn" // NiNo: message passing over the neural graph
	VariantMLP = "mlp" // WNN+: each parameter by itself
)

// Weights are the network's weights and what follows from them.
type Weights struct {
	Config
	Tensors *weights.Set      // every tensor under the name and in the layout of the reference
	Args    map[string]string // settings of the reference's network (model_args), as found
}

// Config describes a network. Its JSON form is the metadata of weight files.
type Config struct {
	Variant   string  `json:"variant"`
	Width     int     `json:"width"`    // of the hidden layers
	Layers    int     `json:"layers"`   // message passing layers; of the MLP: linear layers
	Context   int     `json:"context"`  // past states
	Horizons  int     `json:"horizons"` // the furthest horizon, in intervals between states
	Taps      int     `json:"taps"`     // numbers of one edge; of the MLP: 1
	EdgeTypes int     `json:"edge_types"`
	Positions int     `json:"positions"` // Laplacian features of a node
	Words     int     `json:"words"`     // rows of the table of word positions, 0 where there is none
	Scaling   Scaling `json:"scaling"`
	// What networks of the paper's ablations have or lack. The zero values are
	// those of its main network.
	Untyped     bool    `json:"untyped,omitempty"`      // edge types are no feature
	Unplaced    bool    `json:"unplaced,omitempty"`     // Laplacian features are no feature
	FinalUpdate bool    `json:"final_update,omitempty"` // edges are updated after the last message passing layer, too
	Towers      int     `json:"towers,omitempty"`       // parts of a message that are computed apart, 0: one
	UpdateScale float64 `json:"update_scale,omitempty"` // factor of the predicted difference, 0: 1
}

// Rounds is the number of message passing layers that reach the output: those
// with an update of the edges after them.
func (c *Config) Rounds() int {
	if c.FinalUpdate {
		return c.Layers
	}
	return max(0, c.Layers-1)
}

// plain says whether the network has the features and the parts of the paper's
// main network.
func (c *Config) plain() bool {
	return !c.Untyped && !c.Unplaced && !c.FinalUpdate && c.Towers == 0 && c.UpdateScale == 0
}

// Widths of the inputs of networks that ignore them: the interface of a network
// does not depend on which features it reads.
const (
	allEdgeTypes = 15
	allPositions = 8
)

// configKey is the metadata key of the Config as JSON.
const configKey = "ninox.nino"

// ReadWeights reads a safetensors file with the reference's tensor names,
// whether ninox or another program wrote it.
func ReadWeights(path string) (*Weights, error) {
	set, meta, err := weights.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	return fromFile(path, set, meta)
}

// fromFile makes weights of what a safetensors file holds.
func fromFile(path string, set *weights.Set, meta map[string]string) (*Weights, error) {
	args := maps.Clone(meta)
	delete(args, configKey)
	delete(args, "format") // written by other tools: the framework of the tensors
	w, err := NewWeights(set, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if stated, ok := meta[configKey]; ok {
		var c Config
		if err := json.Unmarshal([]byte(stated), &c); err != nil {
			return nil, fmt.Errorf("%s: metadata %q: %w", path, configKey, err)
		}
		if c != w.Config {
			return nil, fmt.Errorf("%s: metadata %q says %+v, the tensors say %+v", path, configKey, c, w.Config)
		}
	}
	return w, nil
}

// Write writes the weights as safetensors: tensors and settings unchanged, and
// the Config. An existing file is an fs.ErrExist unless overwrite is set.
func (w *Weights) Write(path string, overwrite bool) error {
	c, err := json.Marshal(w.Config)
	if err != nil {
		return err
	}
	meta := maps.Clone(w.Args)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[configKey] = string(c)
	return weights.WriteSafetensors(path, w.Tensors, meta, overwrite)
}

// Parameters is the number of weights.
func (w *Weights) Parameters() int {
	n := 0
	for _, name := range w.Tensors.Names() {
		n += w.Tensors.Get(name).DataSize()
	}
	return n
}

// Hash is the SHA-256, in hexadecimal, of the names and values of the tensors.
func (w *Weights) Hash() string {
	h := sha256.New()
	for _, name := range slices.Sorted(slices.Values(w.Tensors.Names())) {
		v, _ := w.Tensors.Floats(name) // checked when the weights were made
		fmt.Fprintf(h, "%s %d\n", name, len(v))
		binary.Write(h, binary.LittleEndian, v)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// NewWeights checks that the tensors make a network, with the reference's
// settings args (nil means its defaults), and describes it.
func NewWeights(set *weights.Set, args map[string]string) (*Weights, error) {
	w := &Weights{Tensors: set, Args: args}
	if err := w.describe(); err != nil {
		return nil, fmt.Errorf("network weights: %w", err)
	}
	if err := w.checkTensors(); err != nil {
		return nil, fmt.Errorf("network weights (%s, width %d): %w", w.Variant, w.Width, err)
	}
	if err := w.checkArgs(); err != nil {
		return nil, fmt.Errorf("network weights: %w", err)
	}
	return w, nil
}

// Naive says whether the network was trained on naive graphs of attention.
func (w *Weights) Naive() bool { return strings.EqualFold(w.Args["improved_graph"], "false") }

// matrix is the shape of a tensor that must be a matrix.
func (w *Weights) matrix(name string) (rows, cols int, err error) {
	t := w.Tensors.Get(name)
	if t == nil {
		return 0, 0, fmt.Errorf("tensor %q is missing: no NiNo or WNN+ weights", name)
	}
	if t.Dims() != 2 {
		return 0, 0, fmt.Errorf("tensor %q has shape %v, expected a matrix", name, t.Shape())
	}
	return t.Shape()[0], t.Shape()[1], nil
}

// setting reads an integer among the reference's settings; def where it is not
// given.
func (w *Weights) setting(key string, def int) (int, error) {
	s, ok := w.Args[key]
	if !ok {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("setting %s is %q, expected a number", key, s)
	}
	return n, nil
}

// describe derives the Config from shapes, and from the settings where shapes
// leave it open.
func (w *Weights) describe() (err error) {
	if w.Scaling, err = scalingOf(w.Args["scale_method"]); err != nil {
		return err
	}
	if w.UpdateScale, err = w.updateScale(); err != nil {
		return err
	}
	var in int
	if w.Width, in, err = w.matrix("edge_proj.fc.0.weight"); err != nil {
		return err
	}
	w.EdgeTypes, w.Untyped = allEdgeTypes, w.Tensors.Get(typeTable) == nil && w.Args["edge_types"] == "0"
	if !w.Untyped {
		if w.EdgeTypes, w.Width, err = w.matrix(typeTable); err != nil {
			return err
		}
	}
	if w.Tensors.Get("edge_mlp.fc.0.weight") != nil {
		w.Variant, w.Context, w.Taps = VariantMLP, in, 1
		for w.Tensors.Get(fmt.Sprintf("edge_mlp.fc.%d.weight", 2*w.Layers)) != nil {
			w.Layers++
		}
		w.Horizons, _, err = w.matrix(fmt.Sprintf("edge_mlp.fc.%d.weight", 2*(w.Layers-1)))
		return err
	}
	w.Variant = VariantGNN
	if w.Context, err = w.setting("ctx", 5); err != nil {
		return err
	}
	if w.Context < 1 {
		return fmt.Errorf("setting ctx is %q, expected a number of states", w.Args["ctx"])
	}
	w.Taps = in / w.Context
	for w.Tensors.Get(fmt.Sprintf("gnn.convs.%d.lin.weight", w.Layers)) != nil {
		w.Layers++
	}
	w.FinalUpdate = w.Tensors.Get(fmt.Sprintf("gnn.edge_update.%d.lin_e.weight", w.Layers-1)) != nil
	for w.Tensors.Get(fmt.Sprintf("gnn.convs.0.pre_nns.%d.0.weight", w.Towers)) != nil {
		w.Towers++
	}
	if w.Towers == 1 {
		w.Towers = 0
	}
	if w.Tensors.Get(wordTable) != nil {
		if w.Words, _, err = w.matrix(wordTable); err != nil {
			return err
		}
	}
	w.Positions, w.Unplaced = allPositions, w.Args["lpe"] == "0"
	if !w.Unplaced {
		if _, w.Positions, err = w.matrix("node_proj.fc.0.weight"); err != nil {
			return err
		}
	}
	out, _, err := w.matrix("edge_out.fc.2.weight")
	w.Horizons = out / max(1, w.Taps)
	return err
}

// updateScale is the factor of the predicted difference, 0 for 1.
func (w *Weights) updateScale() (float64, error) {
	s, ok := w.Args["upd_scale"]
	if !ok {
		return 0, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("setting upd_scale is %q, expected a factor", s)
	}
	if v == 1 {
		return 0, nil
	}
	return v, nil
}

// typeTable is the tensor of edge types: a row per type.
const typeTable = "layer_embed.weight"

// wordTable is the tensor of word positions: a row per token, row 0 for nodes
// that are no token.
const wordTable = "wte_pos_enc_layer.weight"

// shape is the name and shape of a tensor.
type shape struct {
	name string
	dims []int
}

// expected lists the tensors of a network of this Config.
func (c *Config) expected() []shape {
	d := c.Width
	var out []shape
	linear := func(name string, rows, cols int) {
		out = append(out, shape{name + ".weight", []int{rows, cols}}, shape{name + ".bias", []int{rows}})
	}
	if !c.Untyped {
		out = append(out, shape{typeTable, []int{c.EdgeTypes, d}})
	}
	linear("edge_proj.fc.0", d, c.Taps*c.Context)
	if c.Variant == VariantMLP {
		for i := range c.Layers {
			rows := d
			if i == c.Layers-1 {
				rows = c.Horizons
			}
			linear(fmt.Sprintf("edge_mlp.fc.%d", 2*i), rows, d)
		}
		return out
	}
	switch {
	case !c.Unplaced:
		linear("node_proj.fc.0", d, c.Positions)
	case c.Words == 0: // the reference makes this layer and does not use it
		linear("node_proj.fc.0", d, 1)
	}
	if c.Words > 0 {
		out = append(out, shape{wordTable, []int{c.Words, d}})
	}
	towers := max(1, c.Towers)
	part := d / towers
	for i := range c.Layers {
		conv := fmt.Sprintf("gnn.convs.%d.", i)
		linear(conv+"edge_encoder", 2*part, d)
		for t := range towers {
			linear(fmt.Sprintf("%spre_nns.%d.0", conv, t), part, 2*part)
			linear(fmt.Sprintf("%spost_nns.%d.0", conv, t), part, 2*part)
		}
		linear(conv+"lin", d, d)
	}
	for i := range c.Rounds() {
		update := fmt.Sprintf("gnn.edge_update.%d.", i)
		for _, n := range []string{"lin_e", "lin_s", "lin_t", "lin1"} {
			linear(update+n, d, d)
		}
	}
	linear("edge_out.fc.0", d, d)
	linear("edge_out.fc.2", c.Taps*c.Horizons, d)
	return out
}

// checkTensors compares the tensors with the expected ones, all at once.
func (w *Weights) checkTensors() error {
	var errs []error
	known := map[string]bool{}
	for _, s := range w.expected() {
		known[s.name] = true
		t := w.Tensors.Get(s.name)
		if t == nil {
			errs = append(errs, fmt.Errorf("tensor %q is missing", s.name))
			continue
		}
		if !slices.Equal([]int(t.Shape()), s.dims) {
			errs = append(errs, fmt.Errorf("tensor %q has shape %v, expected %v", s.name, t.Shape(), s.dims))
		} else if _, err := w.Tensors.Floats(s.name); err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range w.Tensors.Names() {
		if !known[n] {
			errs = append(errs, fmt.Errorf("tensor %q belongs to no network that ninox knows", n))
		}
	}
	if least := map[string]int{VariantGNN: 1, VariantMLP: 2}[w.Variant]; w.Layers < least {
		errs = append(errs, fmt.Errorf("%d layers, expected at least %d", w.Layers, least))
	}
	if towers := max(1, w.Towers); w.Width%towers != 0 {
		errs = append(errs, fmt.Errorf("%d towers do not divide the width %d", towers, w.Width))
	}
	if w.Horizons < 1 {
		errs = append(errs, errors.New("no horizons"))
	}
	return errors.Join(errs...)
}

// number spells a count, 0 where there are none.
func number(n int, none bool) string {
	if none {
		return "0"
	}
	return strconv.Itoa(n)
}

// checkArgs compares the settings that change the network with the tensors.
// Others (chunk sizes and the like) do not matter.
func (w *Weights) checkArgs() error {
	want := map[string]string{
		"ctx": strconv.Itoa(w.Context), "hid": strconv.Itoa(w.Width), "seq_len": strconv.Itoa(w.Horizons),
		"edge_types": number(w.EdgeTypes, w.Untyped), "act_name": "silu", "residual": "True", "dms": "True", "input_layer": "linear",
	}
	if w.Variant == VariantMLP {
		want["gnn"] = "False"
	} else {
		want["layers"] = strconv.Itoa(w.Layers)
		want["max_feat_size"] = strconv.Itoa(w.Taps)
		want["lpe"] = number(w.Positions, w.Unplaced)
		want["towers"] = strconv.Itoa(max(1, w.Towers))
		want["final_edge_update"] = strconv.FormatBool(w.FinalUpdate)
		want["gnn"] = "True"
		want["wte_pos_enc"] = "False"
		if w.Words > 0 {
			want["wte_pos_enc"] = "True"
			want["vocab_size"] = strconv.Itoa(w.Words - 1)
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(w.Args)) {
		if v, ok := want[key]; ok && !strings.EqualFold(v, w.Args[key]) {
			errs = append(errs, fmt.Errorf("setting %s is %q, the tensors and ninox's network say %q", key, w.Args[key], v))
		}
	}
	return errors.Join(errs...)
}
