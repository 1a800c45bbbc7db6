package onnxgraph

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

var update = flag.Bool("update", false, "write the files of testdata/attacks anew")

// attack is a hostile model file, and what may lie around it.
type attack struct {
	name    string // of the file in testdata/attacks
	pattern string // what it imitates
	file    []byte
	prepare func(t *testing.T, dir, secret string) // of the model's folder; nil for nothing
	want    string                                 // part of the error
}

// external is a model whose tensor "w", two floats, lies elsewhere, with these
// entries of external_data.
func external(entries ...KeyValue) []byte {
	var ext []byte
	for _, e := range entries {
		ext = protowire.AppendBytes(protowire.AppendTag(ext, 13, protowire.BytesType), slices.Concat(field(1, e.Key), field(2, e.Value)))
	}
	return modelOf(slices.Concat(varintField(1, 2), varintField(2, 1), field(8, "w"), ext, varintField(14, 1)))
}

// modelOf is a model with one initializer, given by its message.
func modelOf(tensor []byte) []byte {
	graph := slices.Concat(field(2, "g"), field(5, tensor))
	return slices.Concat(varintField(1, 8), field(7, graph), field(8, varintField(2, 17)))
}

func field[T string | []byte](num protowire.Number, v T) []byte {
	return append(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), uint64(len(v))), v...)
}

func varintField(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func at(location string, more ...KeyValue) []byte {
	return external(append([]KeyValue{{"location", location}}, more...)...)
}

// tensorOf is a float tensor "w" of these dims, with the data of one element.
func tensorOf(dims ...uint64) []byte {
	var b []byte
	for _, d := range dims {
		b = append(b, varintField(1, d)...)
	}
	return modelOf(slices.Concat(b, varintField(2, 1), field(8, "w"), field(9, "\x00\x00\x80\x3f")))
}

// nested is a model of subgraphs, each in an attribute of the only node of the
// one around it.
func nested(levels int) []byte {
	graph := field(2, "g")
	for range levels {
		attr := slices.Concat(field(1, "body"), field(6, graph), varintField(20, 5))
		graph = append(field(1, append(field(4, "If"), field(5, attr)...)), field(2, "g")...)
	}
	return slices.Concat(varintField(1, 8), field(7, graph))
}

// nestedType is a model with an input of sequences of sequences.
func nestedType(levels int) []byte {
	var typ []byte
	for range levels {
		typ = field(4, field(1, typ))
	}
	return slices.Concat(varintField(1, 8), field(7, field(11, append(field(1, "x"), field(2, typ)...))))
}

func link(name string) func(*testing.T, string, string) {
	return func(t *testing.T, dir, secret string) {
		if err := os.Symlink(secret, filepath.Join(dir, name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
}

func data(size int) func(*testing.T, string, string) {
	return func(t *testing.T, dir, _ string) { mustWrite(t, filepath.Join(dir, "w.bin"), make([]byte, size)) }
}

func attacks() []attack {
	const out = "leads out of the model's folder"
	length := KeyValue{"length", "8"}
	return []attack{
		{"traversal", "CVE-2022-25882: a location that climbs out of the folder", at("../secret.bin", length), nil, out},
		{"traversal-deep", "CVE-2022-25882: the same, to a file of the system", at("../../../../../../../../etc/passwd", length), nil, out},
		{"traversal-inside", "CVE-2024-27318: a location that looks local and climbs out later", at("weights/../../secret.bin", length), nil, out},
		{"traversal-prefix", "CVE-2024-27318: a folder whose name begins like the model's", at("../model-secret/secret.bin", length), nil, out},
		{"absolute", "CVE-2022-25882: an absolute location", at("/etc/passwd", length), nil, out},
		{"device", "a device without end", at("/dev/zero", length), nil, out},
		{"tar-member", "CVE-2024-5187: a name as in the hostile archive, which overwrote files when unpacked", at("model/../../../../home/user/.ssh/authorized_keys", length), nil, out},
		{"symlink", "a symbolic link to a file outside", at("w.bin", length), link("w.bin"), "links are refused"},
		{"symlink-folder", "a symbolic link to a folder outside", at("sub/secret.bin", length), func(t *testing.T, dir, secret string) {
			link("sub")(t, dir, filepath.Dir(secret))
		}, "escapes"},
		{"hardlink", "a second name of a file outside", at("w.bin", length), func(t *testing.T, dir, secret string) {
			if runtime.GOOS == "windows" {
				t.Skip("hard links cannot be told there")
			}
			if err := os.Link(secret, filepath.Join(dir, "w.bin")); err != nil {
				t.Skipf("no hard links here: %v", err)
			}
		}, "links are refused"},
		{"pipe", "a pipe, whose reader waits for ever", at("w.bin", length), makePipe, "not a plain file"},
		{"folder", "a folder in place of the data", at("sub", length), func(t *testing.T, dir, _ string) { mustWrite(t, filepath.Join(dir, "sub", "x"), nil) }, "not a plain file"},
		{"missing", "no file at all", at("w.bin", length), nil, "no such file"},
		{"no-location", "no location", external(length), nil, "without a location"},
		{"two-locations", "two locations: one for who checks, one for who reads", at("w.bin", KeyValue{"location", "../secret.bin"}, length), data(8), "location is given twice"},
		{"short", "data beyond the end of the file", at("w.bin", length), data(7), "8 bytes at offset 0 lie beyond the file's 7"},
		{"offset-overflow", "an offset that overflows when the length is added", at("w.bin", KeyValue{"offset", "9223372036854775807"}, length), data(8), "lie beyond"},
		{"offset-negative", "a negative offset", at("w.bin", KeyValue{"offset", "-8"}, length), data(8), `offset "-8" is not`},
		{"offset-hex", "an offset that other readers understand otherwise", at("w.bin", KeyValue{"offset", "0x10"}, length), data(64), `offset "0x10" is not`},
		{"length-wrong", "a length that is not the tensor's", at("w.bin", KeyValue{"length", "12"}), data(12), "float[2] takes 8 bytes"},
		{"length-huge", "a length beyond any memory", at("w.bin", KeyValue{"length", "1152921504606846976"}), data(8), "float[2] takes 8 bytes"},
		{"elements-huge", "2^60 elements with four bytes of data", tensorOf(1 << 60), nil, "too large"},
		{"elements-large", "2^50 elements with four bytes of data", tensorOf(1 << 50), nil, "4 bytes of data, but float"},
		{"dims-overflow", "extents whose product overflows to one", tensorOf(1<<32, 1<<32, 1), nil, "too large"},
		{"dims-zero", "a zero extent beside ones that overflow", tensorOf(1<<62, 1<<62, 0), nil, "too large"},
		{"dims-negative", "a negative extent", tensorOf(1<<64 - 1), nil, "is negative"},
		{"location-unknown", "a data location that does not exist", modelOf(slices.Concat(varintField(2, 1), field(8, "w"), varintField(14, 7))), nil, "data location 7"},
		{"graphs-deep", "subgraphs without end", nested(100), nil, "nest more than 32 deep"},
		{"types-deep", "types without end", nestedType(100), nil, "nest more than 32 deep"},
		{"graph-twice", "a second graph: protobuf merges the two", slices.Concat(nested(0), field(7, field(2, "other"))), nil, "graph occurs twice"},
		{"length-of-field", "a field longer than the file", []byte("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), nil, "not an ONNX model"},
		{"groups", "groups, a part of protobuf that ONNX never used, nested without end", bytes.Repeat([]byte{0x0b}, 1000), nil, "wire type 3"},
	}
}

// Each file of testdata/attacks is refused, with an error that names it and
// what is wrong, at once and with little memory. The files can be reviewed: they
// are what the list above builds.
func TestAttacks(t *testing.T) {
	list := attacks()
	for _, a := range list {
		t.Run(a.name, func(t *testing.T) {
			stored := filepath.Join("testdata", "attacks", a.name+".onnx")
			if *update {
				mustWrite(t, stored, a.file)
			}
			if have, err := os.ReadFile(stored); err != nil || !bytes.Equal(have, a.file) {
				t.Errorf("%s is not what the test builds (%v); -update writes it", stored, err)
			}
			outer := t.TempDir()
			dir, secret := filepath.Join(outer, "model"), filepath.Join(outer, "secret.bin")
			mustWrite(t, secret, make([]byte, 4096))
			path := filepath.Join(dir, "model.onnx")
			mustWrite(t, path, a.file)
			if a.prepare != nil {
				a.prepare(t, dir, secret)
			}
			var err error
			used := allocated(func() { _, err = ReadFile(path) })
			if err == nil {
				t.Fatalf("%s: the model was read", a.pattern)
			}
			for _, want := range []string{path, a.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %.300q does not say %q", err, want)
				}
			}
			if used > 1<<20 {
				t.Errorf("%d bytes of memory for a file of %d", used, len(a.file))
			}
		})
	}
	readme := "Hostile model files, each of which must be refused with an error. They are built by `attacks_test.go`,\nwhich also puts into their folder what some need beside them (links, pipes, short files), and written by\n`go test ./onnxgraph -run TestAttacks -update`.\n\n"
	for _, a := range list {
		readme += fmt.Sprintf("- `%s.onnx`: %s\n", a.name, a.pattern)
	}
	if *update {
		mustWrite(t, "testdata/attacks/README.md", []byte(readme))
	}
	if mustRead(t, "testdata/attacks/README.md") != readme {
		t.Error("README.md does not list the attacks; -update writes it")
	}
	stored, err := filepath.Glob("testdata/attacks/*.onnx")
	if err != nil || len(stored) != len(list) {
		t.Errorf("%d files for %d attacks: %v", len(stored), len(list), err)
	}
}

// allocated is the memory that f takes, freed parts included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Entries of external_data that the specification does not name have no
// effect: no key reaches a field (the onnx package set attributes of an object by
// them), and they are written back.
func TestAttributeInjection(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "w.bin"), []byte{0, 0, 128, 63, 0, 0, 0, 64})
	mustWrite(t, filepath.Join(dir, "other", "w.bin"), make([]byte, 8))
	file := at("w.bin", KeyValue{"length", "8"}, KeyValue{"basepath", filepath.ToSlash(dir) + "/other"}, KeyValue{"__class__", "x"}, KeyValue{"Offset", "4"}, KeyValue{"External", "/etc/passwd"})
	mustWrite(t, filepath.Join(dir, "m.onnx"), file)
	m, err := ReadFile(filepath.Join(dir, "m.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	w := m.Graph.Initializer("w")
	if v, err := w.AsFloats(); err != nil || !slices.Equal(v, []float32{1, 2}) || w.External.Offset != 0 || len(w.External.Other) != 4 {
		t.Errorf("read %v (%v) from %+v", v, err, w.External)
	}
	if out := mustMarshal(t, m); !bytes.Equal(out, file) {
		t.Error("the entries are not written back")
	}
}

// A file that is exchanged for a link between the look and the opening gives
// an error, never what the link leads to.
func TestSwappedFile(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "model")
	mustWrite(t, filepath.Join(outer, "secret.bin"), []byte("secret!!"))
	mustWrite(t, filepath.Join(dir, "m.onnx"), at("w.bin"))
	plain, linked, name := filepath.Join(dir, "plain"), filepath.Join(dir, "linked"), filepath.Join(dir, "w.bin")
	mustWrite(t, name, make([]byte, 8))
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		for !stop.Load() {
			err := errors.Join(os.WriteFile(plain, make([]byte, 8), 0o644), os.Rename(plain, name),
				os.Symlink("../secret.bin", linked), os.Rename(linked, name))
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	read, refused := 0, 0
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && (read < 200 || refused < 200); {
		m, err := ReadFile(filepath.Join(dir, "m.onnx"))
		switch {
		case err != nil:
			refused++
		case bytes.Equal(m.Graph.Initializers[0].Data, make([]byte, 8)):
			read++
		default:
			t.Fatalf("read %q through the link", m.Graph.Initializers[0].Data)
		}
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	if read == 0 || refused == 0 {
		t.Errorf("%d reads, %d refusals: the files were never exchanged in time", read, refused)
	}
}

// Files full of the smallest possible messages, which cost more memory than
// they take in the file, are read in proportion to their size or refused.
func TestBombs(t *testing.T) {
	const size = 1 << 20
	fill := func(piece []byte) []byte { return bytes.Repeat(piece, size/len(piece)) }
	graph := func(fields []byte) []byte { return append(field(7, fields), varintField(1, 8)...) }
	node := func(fields []byte) []byte { return graph(field(1, fields)) }
	attr := func(fields []byte) []byte { return node(field(5, fields)) }
	input := func(typ []byte) []byte { return graph(field(11, field(2, typ))) }
	packed := func(num protowire.Number, dtype uint64) []byte {
		return modelOf(slices.Concat(varintField(1, size), varintField(2, dtype), field(num, make([]byte, size))))
	}
	for name, file := range map[string][]byte{
		"empty nodes":        graph(fill(field(1, ""))),
		"small nodes":        graph(fill(field(1, field(4, "X")))),
		"empty values":       graph(fill(field(11, ""))),
		"empty initializers": graph(fill(field(5, varintField(2, 1)))),
		"empty sparse":       graph(fill(field(15, ""))),
		"empty metadata":     graph(fill(field(16, ""))),
		"unknown fields":     graph(fill(field(99, ""))),
		"mixed unknown":      graph(fill(append(field(99, ""), field(98, "")...))),
		"empty names":        node(fill(field(1, ""))),
		"empty attributes":   node(fill(field(5, ""))),
		"node metadata":      node(fill(field(9, ""))),
		"ints":               attr(fill(varintField(8, 1))),
		"packed ints":        attr(field(8, make([]byte, size))),
		"packed floats":      attr(field(7, make([]byte, size))),
		"strings":            attr(fill(field(9, ""))),
		"graphs":             attr(fill(field(11, ""))),
		"tensors":            attr(fill(field(10, varintField(2, 1)))),
		"types":              attr(fill(field(15, ""))),
		"dims":               input(field(1, field(2, fill(field(1, ""))))),
		"nested types":       graph(fill(field(11, field(2, field(4, field(1, field(4, field(1, "")))))))),
		"int64s":             packed(7, 7),
		"int32s":             packed(5, 6),
		"bytes":              packed(5, 2),
		"raw":                packed(9, 2),
		"string tensor":      modelOf(slices.Concat(varintField(1, size/2), varintField(2, 8), fill(field(6, "")))),
		"functions":          append(graph(nil), fill(field(25, ""))...),
		"opsets":             append(graph(nil), fill(field(8, ""))...),
		"external entries":   modelOf(slices.Concat(varintField(2, 1), fill(field(13, "")), varintField(14, 1))),
	} {
		var m *Model
		var err error
		start := time.Now()
		used := allocated(func() { m, err = Unmarshal(file) })
		t.Logf("%-20s %5.1f times the file, %v, error %.60v", name, float64(used)/float64(len(file)), time.Since(start).Round(time.Millisecond), err)
		if used > 40*uint64(len(file)) {
			t.Errorf("%s: %d bytes of memory for a file of %d (%v)", name, used, len(file), err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if err != nil {
			continue
		}
		used = allocated(func() { _, err = m.WriteTo(io.Discard) })
		if used > 40*uint64(len(file)) {
			t.Errorf("%s: %d bytes of memory to write %d (%v)", name, used, len(file), err)
		}
	}
}

// Nothing outside the folder is written, and no link is followed.
func TestWritingIsConfined(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "model")
	victim := filepath.Join(outer, "victim")
	mustWrite(t, victim, []byte("precious"))
	mustWrite(t, filepath.Join(dir, "sub", "x"), nil)
	m := &Model{IRVersion: 8, Graph: &Graph{Initializers: []*Tensor{Floats("w", []int64{2000}, make([]float32, 2000))}}}
	path := filepath.Join(dir, "m.onnx")
	for _, name := range []string{"../victim", "sub/w.bin", "/etc/ninox", "..", ".", "", "m.onnx", "sub/../../victim"} {
		o := WriteOptions{Overwrite: true, External: name}
		if name == "" {
			o.External = "sub/"
		}
		if err := m.WriteFile(path, o); err == nil || !strings.Contains(err.Error(), "plain name") {
			t.Errorf("External %q: %v", name, err)
		}
	}
	if err := m.WriteFile(filepath.Join(dir, "sub"), WriteOptions{Overwrite: true}); err == nil {
		t.Error("a folder was overwritten")
	}
	for _, name := range []string{"m.onnx", "w.bin"} {
		if err := os.Symlink("../victim", filepath.Join(dir, name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	if err := m.WriteFile(path, WriteOptions{External: "w.bin"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("links that stand in the way: %v", err)
	}
	if err := m.WriteFile(path, WriteOptions{External: "w.bin", Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, victim); got != "precious" {
		t.Errorf("the file behind the links holds %d bytes", len(got))
	}
	if again, err := ReadFile(path); err != nil || len(again.Graph.Initializers[0].Data) != 8000 {
		t.Errorf("the model does not come back: %v", err)
	}
	// The location of a tensor says where it was read, not where it goes.
	m.Graph.Initializers[0].External = &External{Location: "../victim", Length: -1}
	if err := m.WriteFile(path, WriteOptions{External: "w.bin", Overwrite: true}); err != nil || mustRead(t, victim) != "precious" {
		t.Errorf("a tensor's location was written to: %v", err)
	}
	entries, err := os.ReadDir(outer)
	if err != nil || fmt.Sprint(len(entries)) != "2" {
		t.Errorf("files outside: %v, %v", entries, err)
	}
}
