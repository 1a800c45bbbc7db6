package training

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"ninox/onnxgraph"
)

// Slots of the tables, in the order of the schema.
const (
	slotVersion, slotModule, slotGroups, slotProperties           = 0, 1, 2, 3
	slotTrainable, slotFrozen, slotNominal, slotExternal          = 0, 1, 2, 3
	slotGroupName, slotGroupStep, slotGroupRate, slotGroupStates  = 0, 1, 2, 3
	slotStateParam, slotStateMoments                              = 0, 1
	slotInts, slotFloats, slotStrings                             = 0, 1, 2
	slotPropName, slotPropValue                                   = 0, 1
	slotTensorName, slotTensorDoc, slotTensorDims, slotTensorType = 0, 1, 2, 3
	slotTensorRaw, slotTensorStrings, slotTensorOffset            = 4, 5, 6
	checkpointID                                                  = "ODTC"
	maxTensorDims                                                 = 32
)

var errTruncated = errors.New("an offset points outside the file")

// flat reads a flatbuffer with every access checked; the first fault sticks
// and further reads return zeros.
type flat struct {
	b     []byte
	err   error
	items int // table references read so far, bounded by what fits the file once
}

// table is the position of a table, 0 for an absent one.
type table int

func (r *flat) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *flat) at(pos, n int) []byte {
	if pos < 0 || n < 0 || pos > len(r.b)-n {
		r.fail(errTruncated)
		return make([]byte, min(max(n, 0), 8))
	}
	return r.b[pos : pos+n]
}

func (r *flat) u16(pos int) int   { return int(binary.LittleEndian.Uint16(r.at(pos, 2))) }
func (r *flat) u32(pos int) int   { return int(binary.LittleEndian.Uint32(r.at(pos, 4))) }
func (r *flat) i32(pos int) int32 { return int32(binary.LittleEndian.Uint32(r.at(pos, 4))) }
func (r *flat) i64(pos int) int64 { return int64(binary.LittleEndian.Uint64(r.at(pos, 8))) }

// field is the position of a field, 0 where the table does not hold it.
func (r *flat) field(t table, slot int) int {
	if t == 0 || r.err != nil {
		return 0
	}
	vtable := int(t) - int(r.i32(int(t)))
	at := 4 + 2*slot
	if at+2 > r.u16(vtable) {
		return 0
	}
	if off := r.u16(vtable + at); off != 0 {
		return int(t) + off
	}
	return 0
}

// follow resolves the offset stored at a position.
func (r *flat) follow(pos int) int {
	if pos == 0 {
		return 0
	}
	return pos + r.u32(pos)
}

func (r *flat) sub(t table, slot int) table { return table(r.follow(r.field(t, slot))) }

// vector is the position of the first element and the number of elements of
// a vector whose elements take size bytes each.
func (r *flat) vector(t table, slot, size int) (first, n int) {
	pos := r.follow(r.field(t, slot))
	if pos == 0 {
		return 0, 0
	}
	n = r.u32(pos)
	if n > (len(r.b)-pos)/size {
		r.fail(errTruncated)
		return 0, 0
	}
	return pos + 4, n
}

func (r *flat) tables(t table, slot int) []table {
	first, n := r.vector(t, slot, 4)
	// Offsets may share a table, so a small file could unfold without bound.
	if r.items += n; r.items > len(r.b)/4 {
		r.fail(errors.New("more tables than the file can hold"))
		return nil
	}
	out := make([]table, n)
	for i := range out {
		out[i] = table(r.follow(first + 4*i))
	}
	return out
}

func (r *flat) str(t table, slot int) string {
	first, n := r.vector(t, slot, 1)
	return string(r.at(first, n))
}

func (r *flat) int64(t table, slot int, def int64) int64 {
	if pos := r.field(t, slot); pos != 0 {
		return r.i64(pos)
	}
	return def
}

func (r *flat) int32(t table, slot int) int32 {
	if pos := r.field(t, slot); pos != 0 {
		return r.i32(pos)
	}
	return 0
}

func (r *flat) float(t table, slot int) float32 {
	return math.Float32frombits(uint32(r.int32(t, slot)))
}

func (r *flat) bool(t table, slot int) bool {
	pos := r.field(t, slot)
	return pos != 0 && r.at(pos, 1)[0] != 0
}

// decodeCheckpoint reads a flatbuffer; external fetches the data file beside
// it when a tensor lies there.
func decodeCheckpoint(b []byte, external func() ([]byte, error)) (*Checkpoint, error) {
	if len(b) < 8 || string(b[4:8]) != checkpointID {
		return nil, fmt.Errorf("not a training checkpoint (identifier %q missing)", checkpointID)
	}
	r := &flat{b: b}
	root := table(r.u32(0))
	c := &Checkpoint{Version: r.int32(root, slotVersion)}
	if r.err == nil && c.Version != 1 && c.Version != 2 {
		return nil, fmt.Errorf("format version %d is unknown, expected 1 or 2", c.Version)
	}
	module := r.sub(root, slotModule)
	c.Nominal = r.bool(module, slotNominal)
	d := &tensorDecoder{flat: r, nominal: c.Nominal, external: external}
	c.Trainable = d.list(module, slotTrainable)
	c.Frozen = d.list(module, slotFrozen)
	d.nominal = false
	for _, g := range r.tables(root, slotGroups) {
		group := OptimizerGroup{Name: r.str(g, slotGroupName), Step: r.int64(g, slotGroupStep, 0), InitialLearningRate: r.float(g, slotGroupRate)}
		for _, s := range r.tables(g, slotGroupStates) {
			group.States = append(group.States, ParameterState{r.str(s, slotStateParam), d.list(s, slotStateMoments)})
		}
		c.Groups = append(c.Groups, group)
	}
	bag := r.sub(root, slotProperties)
	for _, p := range r.tables(bag, slotInts) {
		c.Properties = append(c.Properties, Property{r.str(p, slotPropName), r.int64(p, slotPropValue, 0)})
	}
	for _, p := range r.tables(bag, slotFloats) {
		c.Properties = append(c.Properties, Property{r.str(p, slotPropName), r.float(p, slotPropValue)})
	}
	for _, p := range r.tables(bag, slotStrings) {
		c.Properties = append(c.Properties, Property{r.str(p, slotPropName), r.str(p, slotPropValue)})
	}
	return c, r.err
}

type tensorDecoder struct {
	*flat
	nominal  bool
	external func() ([]byte, error)
}

func (d *tensorDecoder) list(t table, slot int) []*onnxgraph.Tensor {
	var out []*onnxgraph.Tensor
	for _, p := range d.tables(t, slot) {
		if d.err != nil {
			return out
		}
		out = append(out, d.tensor(p))
	}
	return out
}

func (d *tensorDecoder) tensor(t table) *onnxgraph.Tensor {
	out := &onnxgraph.Tensor{Name: d.str(t, slotTensorName), DType: onnxgraph.DType(d.int32(t, slotTensorType)), Dims: []int64{}}
	first, n := d.vector(t, slotTensorDims, 8)
	if n > maxTensorDims {
		d.fail(fmt.Errorf("tensor %q has %d axes, at most %d are allowed", out.Name, n, maxTensorDims))
		return out
	}
	size := int64(1)
	for i := range n {
		dim := d.i64(first + 8*i)
		if dim < 0 || dim > 0 && size > math.MaxInt64/64/dim {
			d.fail(fmt.Errorf("tensor %q: extent %d is negative or too large", out.Name, dim))
			return out
		}
		size *= dim
		out.Dims = append(out.Dims, dim)
	}
	if d.err != nil || d.nominal {
		return out
	}
	bytes := out.DType.RawSize(size)
	if out.DType.Bits() == 0 {
		d.fail(fmt.Errorf("tensor %q: element type %s is not supported", out.Name, out.DType))
		return out
	}
	if off := d.int64(t, slotTensorOffset, -1); off >= 0 {
		data, err := d.external()
		if err != nil {
			d.fail(fmt.Errorf("tensor %q lies in the data file: %w", out.Name, err))
			return out
		}
		if off > int64(len(data)) || bytes > int64(len(data))-off {
			d.fail(fmt.Errorf("tensor %q: %d bytes at offset %d exceed the data file", out.Name, bytes, off))
			return out
		}
		out.Data = data[off : off+bytes]
		return out
	}
	first, n = d.vector(t, slotTensorRaw, 1)
	if int64(n) != bytes {
		d.fail(fmt.Errorf("tensor %q: %d bytes of data do not fit %s%v", out.Name, n, out.DType, out.Dims))
		return out
	}
	out.Data = d.at(first, n)
	return out
}
