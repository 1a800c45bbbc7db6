package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
)

// The two files were written by NumPy 2.4 (savez and savez_compressed).
func TestReadNPZ(t *testing.T) {
	ramp := make([]float32, 24)
	for i := range ramp {
		ramp[i] = float32(i)
	}
	want := []struct {
		name string
		dims []int64
		data any
	}{
		{"f4", []int64{2, 3}, []float32{1, -2.5, 3, 4, 5, 6.25}},
		{"f8", []int64{2}, []float32{0.5, -1e30}},
		{"f2", []int64{4}, []float32{1, -0.5, 65504, 1.0 / (1 << 24)}},
		{"i8", []int64{2}, []int64{-1 << 62, 7}},
		{"i4", []int64{2, 1}, []int64{-5, 6}},
		{"i2", []int64{1}, []int64{-300}},
		{"i1", []int64{2}, []int64{-3, 4}},
		{"u4", []int64{1}, []int64{4000000000}},
		{"u2", []int64{1}, []int64{65535}},
		{"u1", []int64{3}, []int64{0, 200, 255}},
		{"b1", []int64{2}, []int64{1, 0}},
		{"fortran", []int64{2, 3, 4}, ramp},
		{"fint", []int64{3, 2}, []int64{0, 1, 2, 3, 4, 5}},
		{"scalar", []int64{1}, []float32{2.5}},
	}
	for _, file := range []string{"stored.npz", "deflated.npz"} {
		s, err := ReadNPZ(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		if s.Len() != len(want) {
			t.Errorf("%s: arrays %v, expected %d", file, s.Names(), len(want))
		}
		for _, w := range want {
			d := s.Get(w.name)
			if d == nil {
				t.Errorf("%s: array %q is missing", file, w.name)
				continue
			}
			if !slices.Equal(Dims(d), w.dims) || !reflect.DeepEqual(d.Data(), w.data) {
				t.Errorf("%s: %s is %v%v, expected %v%v", file, w.name, Dims(d), d.Data(), w.dims, w.data)
			}
		}
	}
}

// Arrays that ONNX Runtime's own tools stored are read with their shapes.
func TestReadNPZReference(t *testing.T) {
	s, err := ReadNPZ(testenv.Shared(t, "fixtures/ort-training/mlp_ce_adamw/inputs.npz"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() == 0 {
		t.Fatal("no arrays")
	}
}

// npy is a .npy file of version 1.
func npy(dict string, data []byte) []byte {
	out := append([]byte(npyMagic), 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(dict)))
	return append(append(out, dict...), data...)
}

func zipped(t *testing.T, entries ...any) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.Create(entries[i].(string))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(entries[i+1].([]byte)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestReadNPZRefuses(t *testing.T) {
	const one = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n"
	good := npy(one, make([]byte, 4))
	dict := func(s string) []byte { return zipped(t, "a.npy", npy(s, make([]byte, 4))) }
	damaged := zipped(t, "a.npy", good)
	version := npy(one, make([]byte, 4))
	version[6] = 9
	// The length in the zip directory of an entry that is huge.
	huge := bytes.Clone(damaged)
	central := bytes.LastIndex(huge, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(huge[central+24:], 0xfffffff0)
	cases := []struct {
		name, want string
		file       []byte
	}{
		{"not a zip", "not an npz file", []byte("hello")},
		{"foreign entry", "expected a .npy file", zipped(t, "readme.txt", good)},
		{"twice", `"a" occurs twice`, zipped(t, "a.npy", good, "a.npy", good)},
		{"magic", "not a .npy file", zipped(t, "a.npy", []byte("0123456789"))},
		{"short", "EOF", zipped(t, "a.npy", good[:7])},
		{"version", "format version 9", zipped(t, "a.npy", version)},
		{"too little data", "3 bytes of data", zipped(t, "a.npy", npy(one, make([]byte, 3)))},
		{"too much data", "5 bytes of data", zipped(t, "a.npy", npy(one, make([]byte, 5)))},
		{"big-endian", `">f4" are not supported`, dict("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }")},
		{"structure", "are not supported", dict("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }")},
		{"objects", `"|O" are not supported`, dict("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")},
		{"no dict", "not understood", dict("import os")},
		{"negative", "not understood", dict("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }")},
		{"overflow", "too large", dict("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }")},
		{"empty", "no elements", zipped(t, "a.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", nil))},
		{"bomb", "cannot come out of", huge},
	}
	for _, c := range cases {
		_, err := readNPZ(bytes.NewReader(c.file), int64(len(c.file)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected %q", c.name, err, c.want)
		}
	}
	// A flipped data byte fails the checksum.
	stored, err := os.ReadFile("testdata/stored.npz")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(stored, []byte("\n")) + 1
	stored[at] ^= 1
	if _, err := readNPZ(bytes.NewReader(stored), int64(len(stored))); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("damaged data: error %v, expected a checksum error", err)
	}
	if _, err := ReadNPZ(filepath.Join(t.TempDir(), "absent.npz")); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
}

func FuzzReadNPZ(f *testing.F) {
	for _, p := range []string{"testdata/stored.npz", "testdata/deflated.npz"} {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readNPZ(bytes.NewReader(b), int64(len(b)))
		if err == nil && s == nil {
			t.Fatal("neither arrays nor an error")
		}
	})
}
