// Command states writes a model and five states of it, with random numbers, to
// measure `ninox nino step` on: the model's own weights are zero, in a sparse
// file, and the states are safetensors, in shards where they are large.
//
//	go run ./bench/nino/states -shape llama-3.2-1b -dtype bf16 -out DIR
//	go run ./bench/nino/states -shape gpt2:3,24,4,50257 -out DIR
//	go run ./bench/nino/states -shape fm-16 -out DIR
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/x448/float16"

	"ninox/models"
	"ninox/neuralgraph/graphtest"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// Sizes of Llama-3.2-1B: 1.24 billion parameters, the output tied to the
// embedding in the original, of its own here.
var llama1B = graphtest.Transformer{Llama: true, Layers: 16, Width: 2048, Heads: 32, KVHeads: 8, Hidden: 8192, Vocabulary: 128256}

func main() {
	shape := flag.String("shape", "llama-3.2-1b", "llama-3.2-1b; gpt2:LAYERS,WIDTH,HEADS,VOCABULARY; llama:LAYERS,WIDTH,HEADS,KV,HIDDEN,VOCABULARY; or a task of ninox")
	dtype := flag.String("dtype", "fp32", "element type of the states: fp32, fp16 or bf16")
	shard := flag.Int64("shard", 1<<30, "bytes of a file from which the next one is begun")
	out := flag.String("out", "", "folder to write to (required)")
	flag.Parse()
	log.SetFlags(0)
	if err := write(*shape, *dtype, *shard, *out); err != nil {
		log.Fatal(err)
	}
}

func write(shape, dtype string, shard int64, out string) error {
	if out == "" {
		return fmt.Errorf("-out is missing")
	}
	e, ok := encodings[dtype]
	if !ok {
		return fmt.Errorf("-dtype %q: expected fp32, fp16 or bf16", dtype)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	m, err := modelOf(shape)
	if err != nil {
		return err
	}
	parameters, err := writeModel(m, out)
	if err != nil {
		return err
	}
	for t := range 5 {
		if err := writeState(filepath.Join(out, fmt.Sprintf("s%d", t)), parameters, e, shard, t); err != nil {
			return err
		}
	}
	total := int64(0)
	for _, p := range parameters {
		total += p.Len()
	}
	fmt.Printf("%d parameters\n", total)
	return nil
}

// modelOf builds the network; parameters of transformers have no data.
func modelOf(shape string) (*onnxgraph.Model, error) {
	family, list, sized := strings.Cut(shape, ":")
	if shape == "llama-3.2-1b" {
		t := llama1B
		t.Weight = empty
		return t.Model()
	}
	if !sized {
		t, err := models.Lookup(shape)
		if err != nil {
			return nil, err
		}
		return t.Model(1)
	}
	want := map[string]int{"gpt2": 4, "llama": 6}[family]
	var n []int64
	for _, s := range strings.Split(list, ",") {
		v, err := strconv.ParseInt(s, 10, 32)
		if err != nil || v < 1 {
			return nil, fmt.Errorf("-shape %s: %q is no size", shape, s)
		}
		n = append(n, v)
	}
	if want == 0 || len(n) != want {
		return nil, fmt.Errorf("-shape %s: expected gpt2 with 4 sizes or llama with 6", shape)
	}
	t := graphtest.Transformer{Llama: true, Layers: int(n[0]), Width: n[1], Heads: n[2]}
	if family == "gpt2" {
		t = graphtest.GPT2(int(n[0]), n[1], n[2], n[3])
	} else {
		t.KVHeads, t.Hidden, t.Vocabulary = n[3], n[4], n[5]
	}
	t.Weight = empty
	return t.Model()
}

func empty(name string, dims []int64) *onnxgraph.Tensor {
	return &onnxgraph.Tensor{Name: name, DType: onnxgraph.Float, Dims: dims}
}

// writeModel writes the model with all float parameters in one sparse file, and
// returns these. Parameters are what has at least 64 numbers or a name with a
// dot; constants of the graph stay in the model.
func writeModel(m *onnxgraph.Model, out string) ([]*onnxgraph.Tensor, error) {
	var parameters []*onnxgraph.Tensor
	end := int64(0)
	for _, t := range m.Graph.Initializers {
		if t.DType != onnxgraph.Float || t.Data != nil && !strings.Contains(t.Name, ".") {
			continue
		}
		n := 4 * t.Len()
		t.External = &onnxgraph.External{Location: "weights.bin", Offset: end, Length: n}
		t.Data = nil
		end += (n + 4095) / 4096 * 4096
		parameters = append(parameters, t)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(out, "model.onnx"), raw, 0o644); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(out, "weights.bin"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parameters, f.Truncate(end)
}

// encoding writes numbers in an element type.
type encoding struct {
	dtype onnxgraph.DType
	put   func(b []byte, v float32)
}

var le = binary.LittleEndian

var encodings = map[string]encoding{
	"fp32": {onnxgraph.Float, func(b []byte, v float32) { le.PutUint32(b, math.Float32bits(v)) }},
	"fp16": {onnxgraph.Float16, func(b []byte, v float32) { le.PutUint16(b, float16.Fromfloat32(v).Bits()) }},
	"bf16": {onnxgraph.BFloat16, func(b []byte, v float32) { le.PutUint16(b, uint16((math.Float32bits(v)+0x8000)>>16)) }},
}

// writeState writes state t: one file or shards with an index.
func writeState(dir string, parameters []*onnxgraph.Tensor, e encoding, shard int64, t int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var parts [][]*onnxgraph.Tensor
	size := shard
	for _, p := range parameters {
		if size >= shard {
			parts, size = append(parts, nil), 0
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], p)
		size += e.dtype.RawSize(p.Len())
	}
	index := map[string]string{}
	for i, part := range parts {
		name := "model.safetensors"
		if len(parts) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(parts))
		}
		var tensors []*onnxgraph.Tensor
		for _, p := range part {
			tensors = append(tensors, numbers(p, e, t))
			index[p.Name] = name
		}
		if err := weights.WriteSafetensorsExact(filepath.Join(dir, name), tensors, nil, true); err != nil {
			return err
		}
	}
	if len(parts) == 1 {
		return nil
	}
	raw, err := json.Marshal(map[string]any{"weight_map": index})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), raw, 0o644)
}

// table holds normal numbers, which all parameters are made of.
var table = func() []float32 {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]float32, 1<<16)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}()

// numbers are the values of a parameter in state t: normal, with a drift.
func numbers(p *onnxgraph.Tensor, e encoding, t int) *onnxgraph.Tensor {
	h := fnv.New32a()
	h.Write([]byte(p.Name))
	at, step := uint32(h.Sum32()), uint32(2654435761)
	width := e.dtype.Bits() / 8
	data := make([]byte, p.Len()*int64(width))
	for i := 0; i < len(data); i += width {
		at = at*step + 12345
		e.put(data[i:], 0.02*(table[at>>16]+0.05*float32(t)*table[at&0xffff]))
	}
	return &onnxgraph.Tensor{Name: p.Name, DType: e.dtype, Dims: p.Dims, Data: data}
}
