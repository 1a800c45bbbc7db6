package nino

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// WriteReference writes the weights as the reference's own code reads them:
// tensors and settings unchanged and nothing of ours beside them. A name that
// ends in .pt or .pth gives the file that torch.save would write (a dict of
// state_dict and model_args), any other name safetensors with the settings as
// metadata. An existing file is an fs.ErrExist unless overwrite is set.
func (w *Weights) WriteReference(path string, overwrite bool) error {
	switch filepath.Ext(path) {
	case ".pt", ".pth":
		return onnxgraph.WriteAtomic(path, overwrite, w.writeTorch)
	}
	return weights.WriteSafetensors(path, w.Tensors, w.Args, overwrite)
}

// writeTorch writes a zip of stored records: data.pkl, the byte order, and the
// elements of each tensor.
func (w *Weights) writeTorch(out io.Writer) error {
	z := zip.NewWriter(out)
	record := func(name string, data []byte) error {
		f, err := z.CreateHeader(&zip.FileHeader{Name: "nino/" + name, Method: zip.Store})
		if err == nil {
			_, err = f.Write(data)
		}
		return err
	}
	p := newPickler()
	if err := p.checkpoint(w); err != nil {
		return err
	}
	if err := record("data.pkl", p.buf.Bytes()); err != nil {
		return err
	}
	if err := record("byteorder", []byte("little")); err != nil {
		return err
	}
	for i, name := range w.Tensors.Names() {
		v, err := w.Tensors.Floats(name)
		if err != nil {
			return err
		}
		raw := onnxgraph.Floats(name, []int64{int64(len(v))}, v).Data
		if err := record(fmt.Sprintf("data/%d", i), raw); err != nil {
			return err
		}
	}
	if err := record("version", []byte("3\n")); err != nil {
		return err
	}
	return z.Close()
}

// pickler writes the part of pickle's protocol 2 that tensors and settings need.
type pickler struct{ buf bytes.Buffer }

func newPickler() *pickler {
	p := &pickler{}
	p.buf.WriteString("\x80\x02") // PROTO 2
	return p
}

// checkpoint writes {"state_dict": {…}, "model_args": {…}} and the end.
func (p *pickler) checkpoint(w *Weights) error {
	p.ops("}(") // EMPTY_DICT MARK
	p.text("state_dict")
	p.ops("}(")
	for i, name := range w.Tensors.Names() {
		p.text(name)
		p.tensor(i, weights.Dims(w.Tensors.Get(name)))
	}
	p.ops("u") // SETITEMS
	if w.Args != nil {
		p.text("model_args")
		p.ops("}(")
		for _, key := range slices.Sorted(maps.Keys(w.Args)) {
			p.text(key)
			p.setting(w.Args[key])
		}
		p.ops("u")
	}
	p.ops("u.") // SETITEMS STOP
	if p.buf.Len() > maxPickle {
		return fmt.Errorf("%d bytes of names and shapes, at most %d are written", p.buf.Len(), maxPickle)
	}
	return nil
}

// ops writes opcodes without arguments.
func (p *pickler) ops(codes string) { p.buf.WriteString(codes) }

func (p *pickler) text(s string) {
	p.buf.WriteByte('X')
	p.buf.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(s))))
	p.buf.WriteString(s)
}

// integer writes a number as Python's pickler does: the shortest opcode that
// holds it.
func (p *pickler) integer(n int64) {
	switch {
	case n >= 0 && n < 1<<8:
		p.buf.Write([]byte{'K', byte(n)})
	case n >= 0 && n < 1<<16:
		p.buf.Write(binary.LittleEndian.AppendUint16([]byte{'M'}, uint16(n)))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		p.buf.Write(binary.LittleEndian.AppendUint32([]byte{'J'}, uint32(n)))
	default:
		p.buf.Write(binary.LittleEndian.AppendUint64([]byte{0x8a, 8}, uint64(n)))
	}
}

func (p *pickler) integers(v []int64) {
	p.ops("(")
	for _, n := range v {
		p.integer(n)
	}
	p.ops("t")
}

// tensor writes _rebuild_tensor_v2(storage, 0, dims, strides, False,
// OrderedDict()) of the i-th storage, row-major.
func (p *pickler) tensor(i int, dims []int64) {
	strides, elements := make([]int64, len(dims)), int64(1)
	for a := len(dims) - 1; a >= 0; a-- {
		strides[a] = elements
		elements *= dims[a]
	}
	p.ops("ctorch._utils\n_rebuild_tensor_v2\n((")
	p.text("storage")
	p.ops("ctorch\nFloatStorage\n")
	p.text(strconv.Itoa(i))
	p.text("cpu")
	p.integer(elements)
	p.ops("tQK\x00") // TUPLE BINPERSID, offset 0
	p.integers(dims)
	p.integers(strides)
	p.ops("\x89ccollections\nOrderedDict\n)RtR") // False, OrderedDict(), TUPLE REDUCE
}

// setting writes a setting as the Python value whose text it is.
func (p *pickler) setting(s string) {
	if ops, ok := map[string]string{"None": "N", "True": "\x88", "False": "\x89"}[s]; ok {
		p.ops(ops)
		return
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
		p.integer(n)
		return
	}
	if v, err := strconv.ParseFloat(s, 64); err == nil && pythonFloat(v) == s {
		p.buf.Write(binary.BigEndian.AppendUint64([]byte{'G'}, math.Float64bits(v)))
		return
	}
	p.text(s)
}

// pythonFloat spells a number so that it reads as a float, not an integer.
func pythonFloat(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".eIN") {
		s += ".0"
	}
	return s
}
