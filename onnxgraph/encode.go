package onnxgraph

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// minBlob is the size from which data is written from where it lies, instead
// of being copied into the encoder's buffer.
const minBlob = 4096

// Marshal serialises the model, deterministically, in the order of the field
// numbers. Tensors whose External is set are written as references without
// their data.
func (m *Model) Marshal() ([]byte, error) {
	e, err := m.encode(asReferenced)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, e.size())
	e.each(func(b []byte) error { out = append(out, b...); return nil })
	return out, nil
}

// WriteTo writes what Marshal returns; data of tensors goes to w from where it
// lies, without a copy in memory.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	e, err := m.encode(asReferenced)
	if err != nil {
		return 0, err
	}
	return e.writeTo(w)
}

// asReferenced leaves external tensors external.
func asReferenced(t *Tensor) *External { return t.External }

// encode serialises the model; place says where a tensor's data lies, nil for
// in the model itself.
func (m *Model) encode(place func(*Tensor) *External) (*encoder, error) {
	if m.Graph == nil {
		return nil, errors.New("write: the model has no graph")
	}
	e := &encoder{place: place, spelling: m.spelling}
	if err := e.model(m); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return e, nil
}

// encoder builds a message. Lengths stand before their contents, so that each
// message is written first and its length put in front; large data does not
// move with it, but waits beside the buffer.
type encoder struct {
	buf      []byte
	blobs    []blob
	blobSize int64
	place    func(*Tensor) *External
	spelling *spelling // of the model
}

// blob is data that belongs into the buffer before position at.
type blob struct {
	at   int
	data []byte
}

// size is the length of the whole message.
func (e *encoder) size() int64 { return int64(len(e.buf)) + e.blobSize }

// each hands out the message in pieces.
func (e *encoder) each(piece func([]byte) error) error {
	at := 0
	for _, b := range e.blobs {
		if err := piece(e.buf[at:b.at]); err != nil {
			return err
		}
		if err := piece(b.data); err != nil {
			return err
		}
		at = b.at
	}
	return piece(e.buf[at:])
}

func (e *encoder) writeTo(w io.Writer) (n int64, err error) {
	err = e.each(func(b []byte) error {
		k, err := w.Write(b)
		n += int64(k)
		return err
	})
	return n, err
}

func (e *encoder) uvarint(v uint64) { e.buf = protowire.AppendVarint(e.buf, v) }

func (e *encoder) varint(key uint64, v int64) {
	e.uvarint(key)
	e.uvarint(uint64(v))
}

// data writes a length-delimited field.
func (e *encoder) data(key uint64, b []byte) {
	e.uvarint(key)
	e.uvarint(uint64(len(b)))
	if len(b) < minBlob {
		e.buf = append(e.buf, b...)
		return
	}
	e.blobs = append(e.blobs, blob{len(e.buf), b})
	e.blobSize += int64(len(b))
}

func (e *encoder) text(key uint64, s string) {
	e.uvarint(key)
	e.uvarint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// mark is the beginning of a message that is being written.
type mark struct {
	at       int // position of the one byte kept free for its length
	blobs    int
	blobSize int64
}

func (e *encoder) begin(key uint64) mark {
	e.uvarint(key)
	e.buf = append(e.buf, 0)
	return mark{len(e.buf) - 1, len(e.blobs), e.blobSize}
}

// end puts the length in front of the message begun at m.
func (e *encoder) end(m mark) {
	n := uint64(len(e.buf)-m.at-1) + uint64(e.blobSize-m.blobSize)
	var scratch [binary.MaxVarintLen64]byte
	length := protowire.AppendVarint(scratch[:0], n)
	used := len(length)
	e.buf[m.at] = length[0]
	if used > 1 {
		e.buf = slices.Insert(e.buf, m.at+1, length[1:]...)
		for i := range e.blobs[m.blobs:] {
			e.blobs[m.blobs+i].at += used - 1
		}
	}
}

// fields writes the fields of one message in the order of their numbers, and
// puts the kept ones into their places.
type fields struct {
	*encoder
	kept scanner
	more bool // kept stands on a field that is not written yet
}

func (e *encoder) fields(kept []byte) fields {
	f := fields{encoder: e, kept: scanner{rest: kept}}
	f.more = f.kept.next()
	return f
}

// upTo writes the kept fields whose numbers are below that of key. Those of
// the same number are dropped where a value takes their place.
func (f *fields) upTo(key uint64, replaced bool) {
	for ; f.more && f.kept.key>>3 <= key>>3; f.more = f.kept.next() {
		switch {
		case f.kept.key>>3 == key>>3 && replaced:
		case len(f.kept.raw) < minBlob:
			f.buf = append(f.buf, f.kept.raw...)
		default:
			f.blobs = append(f.blobs, blob{len(f.buf), f.kept.raw})
			f.blobSize += int64(len(f.kept.raw))
		}
	}
}

// close writes the remaining kept fields.
func (f *fields) close() error {
	f.upTo(math.MaxUint64, false)
	return f.kept.err
}

// str and number leave zero values out of the file, as other writers do.
func (f *fields) str(key uint64, s string) {
	if f.upTo(key, s != ""); s != "" {
		f.text(key, s)
	}
}

func (f *fields) number(key uint64, n int64) {
	if f.upTo(key, n != 0); n != 0 {
		f.varint(key, n)
	}
}

func (f *fields) strs(key uint64, list []string) {
	f.upTo(key, false)
	for _, s := range list {
		f.text(key, s)
	}
}

func (f *fields) numbers(key uint64, list []int64) {
	f.upTo(key, false)
	for _, n := range list {
		f.varint(key, n)
	}
}

// messages writes a repeated message, or a singular one as a list of one.
func messages[T any](f *fields, key uint64, list []T, write func(T) error) error {
	f.upTo(key, false)
	for _, v := range list {
		m := f.begin(key)
		if err := write(v); err != nil {
			return err
		}
		f.end(m)
	}
	return nil
}

// optional is a singular message, nil where it is absent.
func optional[T any](f *fields, key uint64, v *T, write func(*T) error) error {
	if f.upTo(key, v != nil); v == nil {
		return nil
	}
	return messages(f, key, []*T{v}, write)
}

func (e *encoder) model(m *Model) error {
	f := e.fields(m.Unknown)
	f.number(modelIrVersion, m.IRVersion)
	f.str(modelProducerName, m.ProducerName)
	f.str(modelProducerVersion, m.ProducerVersion)
	f.str(modelDomain, m.Domain)
	f.number(modelModelVersion, m.ModelVersion)
	f.str(modelDocString, m.Doc)
	if err := optional(&f, modelGraph, m.Graph, e.graph); err != nil {
		return err
	}
	f.opsets(modelOpsetImport, m.Opsets, m.spelling)
	f.entries(modelMetadataProps, m.Metadata)
	if err := messages(&f, modelFunctions, m.Functions, e.function); err != nil {
		return err
	}
	return f.close()
}

func (f *fields) opsets(key uint64, list []Opset, spelt *spelling) {
	f.upTo(key, false)
	for _, o := range list {
		if spelt != nil && spelt.opsets[o] != nil {
			f.data(key, spelt.opsets[o])
			continue
		}
		m := f.begin(key)
		if o.Domain != "" {
			f.text(opsetDomain, o.Domain)
		}
		f.varint(opsetVersion, o.Version)
		f.end(m)
	}
}

func (f *fields) entries(key uint64, list []KeyValue) {
	f.upTo(key, false)
	for _, kv := range list {
		if f.spelling != nil && f.spelling.entries[kv] != nil {
			f.data(key, f.spelling.entries[kv])
			continue
		}
		m := f.begin(key)
		f.text(entryKey, kv.Key)
		f.text(entryValue, kv.Value)
		f.end(m)
	}
}

func (e *encoder) graph(g *Graph) error {
	if err := e.graphFields(g); err != nil {
		return inGraph(g.Name, err)
	}
	return nil
}

func (e *encoder) graphFields(g *Graph) error {
	f := e.fields(g.Unknown)
	if err := messages(&f, graphNode, g.Nodes, e.node); err != nil {
		return err
	}
	f.str(graphName, g.Name)
	if err := messages(&f, graphInitializer, g.Initializers, e.tensor); err != nil {
		return fmt.Errorf("initializer %w", err)
	}
	f.str(graphDocString, g.Doc)
	for _, values := range []struct {
		key  uint64
		list []*Value
	}{{graphInput, g.Inputs}, {graphOutput, g.Outputs}, {graphValueInfo, g.ValueInfo}} {
		if err := messages(&f, values.key, values.list, e.value); err != nil {
			return err
		}
	}
	if err := messages(&f, graphSparseInitializer, g.Sparse, e.sparse); err != nil {
		return err
	}
	f.entries(graphMetadataProps, g.Metadata)
	return f.close()
}

func (e *encoder) node(n *Node) error {
	f := e.fields(n.Unknown)
	f.strs(nodeInput, n.Inputs)
	f.strs(nodeOutput, n.Outputs)
	f.str(nodeName, n.Name)
	f.str(nodeOpType, n.OpType)
	if err := messages(&f, nodeAttribute, n.Attrs, e.attribute); err != nil {
		return fmt.Errorf("node %q (%s), %w", n.Name, n.Op(), err)
	}
	f.str(nodeDocString, n.Doc)
	f.str(nodeDomain, n.Domain)
	f.str(nodeOverload, n.Overload)
	f.entries(nodeMetadataProps, n.Metadata)
	return f.close()
}

func (e *encoder) value(v *Value) error {
	f := e.fields(v.Unknown)
	f.str(valueName, v.Name)
	if f.upTo(valueType, v.Type.says()); v.Type.says() {
		m := f.begin(valueType)
		e.typ(v.Type)
		f.end(m)
	}
	f.str(valueDocString, v.Doc)
	f.entries(valueMetadataProps, v.Metadata)
	return f.close()
}

func (e *encoder) function(fn *Function) error {
	if err := e.functionFields(fn); err != nil {
		return fmt.Errorf("function %q: %w", fn.Name, err)
	}
	return nil
}

func (e *encoder) functionFields(fn *Function) error {
	f := e.fields(fn.Unknown)
	f.str(functionName, fn.Name)
	f.strs(functionInput, fn.Inputs)
	f.strs(functionOutput, fn.Outputs)
	f.strs(functionAttribute, fn.Attrs)
	if err := messages(&f, functionNode, fn.Nodes, e.node); err != nil {
		return err
	}
	f.str(functionDocString, fn.Doc)
	f.opsets(functionOpsetImport, fn.Opsets, fn.spelling)
	f.str(functionDomain, fn.Domain)
	if err := messages(&f, functionAttributeProto, fn.Defaults, e.attribute); err != nil {
		return err
	}
	if err := messages(&f, functionValueInfo, fn.ValueInfo, e.value); err != nil {
		return err
	}
	f.str(functionOverload, fn.Overload)
	f.entries(functionMetadataProps, fn.Metadata)
	return f.close()
}

func (e *encoder) attribute(a *Attribute) error {
	if err := e.attributeFields(a); err != nil {
		return fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	return nil
}

func (e *encoder) attributeFields(a *Attribute) error {
	f := e.fields(a.Unknown)
	f.str(attrName, a.Name)
	f.scalars(a)
	if err := optional(&f, attrT, a.T, e.tensor); err != nil {
		return err
	}
	if err := optional(&f, attrG, a.G, e.graph); err != nil {
		return err
	}
	f.upTo(attrFloats, false)
	for _, v := range a.Floats {
		f.uvarint(attrFloats)
		f.buf = le.AppendUint32(f.buf, math.Float32bits(v))
	}
	f.numbers(attrInts, a.Ints)
	f.upTo(attrStrings, false)
	for _, s := range a.Strings {
		f.data(attrStrings, s)
	}
	if err := messages(&f, attrTensors, a.Tensors, e.tensor); err != nil {
		return err
	}
	if err := messages(&f, attrGraphs, a.Graphs, e.graph); err != nil {
		return err
	}
	f.str(attrDocString, a.Doc)
	if err := optional(&f, attrTp, a.TP, e.typePtr); err != nil {
		return err
	}
	if err := messages(&f, attrTypeProtos, a.Types, e.typePtr); err != nil {
		return err
	}
	f.number(attrType, int64(a.Type))
	f.str(attrRefAttrName, a.RefAttr)
	if err := optional(&f, attrSparseTensor, a.Sparse, e.sparse); err != nil {
		return err
	}
	if err := messages(&f, attrSparseTensors, a.Sparses, e.sparse); err != nil {
		return err
	}
	return f.close()
}

// scalars writes the scalar that the attribute's type asks for, also where it
// is zero; a reference has none.
func (f *fields) scalars(a *Attribute) {
	is := func(key uint64, t AttrType) bool {
		yes := a.Type == t && a.RefAttr == ""
		f.upTo(key, yes)
		return yes
	}
	if is(attrF, AttrFloat) {
		f.uvarint(attrF)
		f.buf = le.AppendUint32(f.buf, math.Float32bits(a.F))
	}
	if is(attrI, AttrInt) {
		f.varint(attrI, a.I)
	}
	if is(attrS, AttrString) {
		f.data(attrS, a.S)
	}
}

// says is false for a type that a file leaves out.
func (t Type) says() bool { return t.Kind != NoType || t.Denotation != "" || t.spelt != nil }

func (e *encoder) typePtr(t *Type) error {
	e.typ(*t)
	return nil
}

func (e *encoder) typ(t Type) {
	if t.spelt != nil {
		read := &decoder{spare: math.MaxInt64}
		if was, err := read.typ(t.spelt); err == nil && was.equal(t) {
			e.buf = append(e.buf, t.spelt...)
			return
		}
	}
	// The denotation's number lies between those of the kinds.
	denoted := t.Denotation == ""
	denote := func() {
		if !denoted {
			e.text(typeDenotation, t.Denotation)
			denoted = true
		}
	}
	elem := func(kind, key uint64) {
		m := e.begin(kind)
		if kind == typeMapType {
			e.varint(typeMapKeyType, int64(t.DType))
		}
		if t.Elem != nil && t.Elem.says() {
			inner := e.begin(key)
			e.typ(*t.Elem)
			e.end(inner)
		}
		e.end(m)
	}
	tensor := func(kind uint64) {
		m := e.begin(kind)
		e.varint(typeTensorElemType, int64(t.DType))
		e.shape(t.Shape)
		e.end(m)
	}
	switch t.Kind {
	case TensorKind:
		tensor(typeTensorType)
	case SequenceKind:
		elem(typeSequenceType, typeSequenceElemType)
	case MapKind:
		elem(typeMapType, typeMapValueType)
	case SparseTensorKind:
		denote()
		tensor(typeSparseTensorType)
	case OptionalKind:
		denote()
		elem(typeOptionalType, typeSequenceElemType)
	}
	denote()
}

// equal compares what the fields say, not how a file spelt it.
func (t Type) equal(o Type) bool {
	if t.Kind != o.Kind || t.DType != o.DType || t.Denotation != o.Denotation ||
		(t.Shape == nil) != (o.Shape == nil) || !slices.Equal(t.Shape, o.Shape) || (t.Elem == nil) != (o.Elem == nil) {
		return false
	}
	return t.Elem == nil || t.Elem.equal(*o.Elem)
}

func (e *encoder) shape(s Shape) {
	if s == nil {
		return
	}
	m := e.begin(typeTensorShape)
	for _, d := range s {
		dim := e.begin(tensorShapeDim)
		switch {
		case d.IsKnown():
			e.varint(tensorShapeDimensionDimValue, d.Value)
		case d.Symbol != "":
			e.text(tensorShapeDimensionDimParam, d.Symbol)
		}
		e.end(dim)
	}
	e.end(m)
}

func (e *encoder) sparse(s *SparseTensor) error {
	f := e.fields(s.Unknown)
	if err := optional(&f, sparseTensorValues, s.Values, e.tensor); err != nil {
		return err
	}
	if err := optional(&f, sparseTensorIndices, s.Indices, e.tensor); err != nil {
		return err
	}
	f.numbers(sparseTensorDims, s.Dims)
	return f.close()
}

func (e *encoder) tensor(t *Tensor) error {
	if err := e.tensorFields(t); err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return nil
}

func (e *encoder) tensorFields(t *Tensor) error {
	external := e.place(t)
	key, n, err := t.writtenKey(external)
	if err != nil {
		return err
	}
	f := e.fields(t.Unknown)
	f.numbers(tensorDims, t.Dims)
	f.upTo(tensorDataType, true)
	f.varint(tensorDataType, int64(t.DType))
	elements := func(from, to uint64) { // the fields of elements stand around others
		if key >= from && key < to {
			f.upTo(key, true)
			f.elements(key, t, n)
		}
	}
	elements(tensorDataType, tensorName)
	f.str(tensorName, t.Name)
	elements(tensorName, tensorDocString)
	f.str(tensorDocString, t.Doc)
	if external != nil {
		f.upTo(tensorExternalData, true)
		f.external(external)
		f.upTo(tensorDataLocation, true)
		f.varint(tensorDataLocation, externalLocation)
	}
	f.entries(tensorMetadataProps, t.Metadata)
	return f.close()
}

// writtenKey is the field that the n elements go to, after checking that they
// are there.
func (t *Tensor) writtenKey(external *External) (key uint64, n int64, err error) {
	n, ok := elementCount(t.Dims)
	switch {
	case external != nil:
		return tensorExternalData, n, nil
	case !ok:
		err = fmt.Errorf("shape %v is negative or too large", t.Dims)
	case t.DType == String:
		if int64(len(t.Strings)) != n {
			err = fmt.Errorf("%d strings for shape %v", len(t.Strings), t.Dims)
		}
		return tensorStringData, n, err
	case int64(len(t.Data)) != t.DType.RawSize(n):
		err = fmt.Errorf("%d bytes of data, but %s%v takes %d", len(t.Data), t.DType, t.Dims, t.DType.RawSize(n))
	case t.Typed:
		return t.DType.typedKey(), n, nil
	}
	return tensorRawData, n, err
}

// elements writes the field that holds the tensor's elements.
func (f *fields) elements(key uint64, t *Tensor, n int64) {
	switch {
	case key == tensorStringData:
		for _, s := range t.Strings {
			f.data(key, s)
		}
	case key == tensorRawData:
		f.data(key, t.Data)
	case len(t.Data) == 0: // an empty packed field is left out
	case t.DType.typedWire() == wireVarint:
		m := f.begin(key)
		f.buf = appendTyped(f.buf, t, n)
		f.end(m)
	default:
		f.data(key, t.Data)
	}
}

// external writes where a tensor's data lies: as the file spelt it, where that
// still says the same.
func (f *fields) external(e *External) {
	if e.spelt != nil {
		read := &decoder{spare: math.MaxInt64, spelt: map[KeyValue][]byte{}}
		if was, err := read.external(e.spelt); err == nil && was.equal(e) {
			for _, b := range e.spelt {
				f.data(tensorExternalData, b)
			}
			return
		}
	}
	kv := []KeyValue{{"location", e.Location}}
	if e.Offset != 0 {
		kv = append(kv, KeyValue{"offset", strconv.FormatInt(e.Offset, 10)})
	}
	if e.Length >= 0 {
		kv = append(kv, KeyValue{"length", strconv.FormatInt(e.Length, 10)})
	}
	if e.Checksum != "" {
		kv = append(kv, KeyValue{"checksum", e.Checksum})
	}
	f.entries(tensorExternalData, append(kv, e.Other...))
}

// equal compares what the fields say.
func (e *External) equal(o *External) bool {
	return e.Location == o.Location && e.Offset == o.Offset && e.Length == o.Length && e.Checksum == o.Checksum && slices.Equal(e.Other, o.Other)
}
