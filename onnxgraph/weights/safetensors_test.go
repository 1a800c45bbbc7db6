package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"ninox/internal/testenv"
)

func TestSafetensorsRoundTrip(t *testing.T) {
	s := &Set{}
	floats := []float32{1, -2, float32(math.Inf(1)), 0, 1e-42, 3}
	s.AddFloats("z.weight", []int64{2, 3}, floats)
	s.AddFloats("a <name> with \"quotes\" and µ", []int64{1}, []float32{7})
	s.Add("steps", DenseInt64s([]int64{2}, []int64{-1, math.MaxInt64}))
	path := filepath.Join(t.TempDir(), "s.safetensors")
	meta := map[string]string{"format": "pt", "k": "{\"nested\": 1}"}
	if err := WriteSafetensors(path, s, meta, false); err != nil {
		t.Fatal(err)
	}
	got, gotMeta, err := ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Names(), s.Names()) || !reflect.DeepEqual(gotMeta, meta) {
		t.Errorf("names %v, metadata %v", got.Names(), gotMeta)
	}
	for _, n := range s.Names() {
		if !slices.Equal(Dims(got.Get(n)), Dims(s.Get(n))) || !reflect.DeepEqual(got.Get(n).Data(), s.Get(n).Data()) {
			t.Errorf("%s: %v, expected %v", n, got.Get(n), s.Get(n))
		}
	}
	if err := WriteSafetensors(path, s, nil, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("writing over a file: %v", err)
	}
	if err := WriteSafetensors(path, s, nil, true); err != nil {
		t.Errorf("overwrite: %v", err)
	}
	if _, m, err := ReadSafetensors(path); err != nil || m != nil {
		t.Errorf("without metadata: %v, %v", m, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The arrays of a file lie behind a header padded to eight bytes.
func TestSafetensorsLayout(t *testing.T) {
	s := &Set{}
	s.AddFloats("w", []int64{2}, []float32{1, 2})
	path := filepath.Join(t.TempDir(), "s.safetensors")
	if err := WriteSafetensors(path, s, nil, false); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header := `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  `
	want := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	want = append(want, header...)
	want = append(want, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40)
	if !bytes.Equal(b, want) {
		t.Errorf("file %q, expected %q", b, want)
	}
}

func TestWriteSafetensorsRefuses(t *testing.T) {
	base := DenseFloats([]int64{2, 3}, make([]float32, 6))
	column, err := base.Slice(nil, tensor.S(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*tensor.Dense{
		"view":      column.(*tensor.Dense),
		"float64":   tensor.New(tensor.WithShape(1), tensor.WithBacking([]float64{1})),
		metadataKey: base,
	} {
		s := &Set{}
		s.Add(name, d)
		path := filepath.Join(t.TempDir(), "s.safetensors")
		if err := WriteSafetensors(path, s, nil, false); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, expected one that names the array", name, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: a file was left behind", name)
		}
	}
}

// safe is a safetensors file with the given header and n zero bytes of data.
func safe(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func TestReadSafetensorsTypes(t *testing.T) {
	header := `{"bf":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"h":{"dtype":"F16","shape":[1],"data_offsets":[4,6]},` +
		`"d":{"dtype":"F64","shape":[1],"data_offsets":[6,14]},"i":{"dtype":"I32","shape":[1],"data_offsets":[14,18]},` +
		`"b":{"dtype":"BOOL","shape":[],"data_offsets":[18,19]},"l":{"dtype":"I64","shape":[1,1],"data_offsets":[19,27]}}`
	b := safe(header, 0)
	b = append(b, 0x80, 0x3f, 0x20, 0xc0) // 1, -2.5
	b = append(b, 0x00, 0xb8)             // -0.5
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(0.1))
	b = append(b, 0xfe, 0xff, 0xff, 0xff, 1)
	b = binary.LittleEndian.AppendUint64(b, 1<<40)
	s, _, err := readSafetensors(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"bf": []float32{1, -2.5}, "h": []float32{-0.5}, "d": []float32{0.1},
		"i": []int64{-2}, "b": []int64{1}, "l": []int64{1 << 40},
	}
	for n, w := range want {
		if !reflect.DeepEqual(s.Get(n).Data(), w) {
			t.Errorf("%s: %v, expected %v", n, s.Get(n).Data(), w)
		}
	}
}

func TestReadSafetensorsRefuses(t *testing.T) {
	long := safe(`{}`, 0)
	binary.LittleEndian.PutUint64(long, 1<<63)
	cases := []struct {
		name, want string
		file       []byte
	}{
		{"empty file", "too few", nil},
		{"seven bytes", "too few", make([]byte, 7)},
		{"header beyond the file", "not a safetensors file", safe(`{}`, 0)[:9]},
		{"header of 2^63 bytes", "not a safetensors file", long},
		{"no object", "not a JSON object", safe(`[]`, 0)},
		{"broken JSON", "header", safe(`{"a":`, 0)},
		{"trailing JSON", "after the JSON object", safe(`{}{}`, 0)},
		{"twice", `"a" occurs twice`, safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)},
		{"metadata twice", `"__metadata__" occurs twice`, safe(`{"__metadata__":{},"__metadata__":{}}`, 0)},
		{"metadata of numbers", metadataKey, safe(`{"__metadata__":{"a":1}}`, 0)},
		{"type", `"F8_E4M3" are not supported`, safe(`{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}`, 1)},
		{"no offsets", "data_offsets", safe(`{"a":{"dtype":"F32","shape":[1]}}`, 4)},
		{"reversed offsets", "data_offsets", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4)},
		{"negative offset", "data_offsets", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4)},
		{"wrong size", "8 bytes of data, F32[1] takes 4", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, 8)},
		{"gap", "gap or overlap", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8)},
		{"overlap", "gap or overlap", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4)},
		{"trailing bytes", "the arrays take 4 bytes, the file holds 5", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 5)},
		{"missing bytes", "the arrays take 4 bytes, the file holds 3", safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 3)},
		{"negative extent", "negative", safe(`{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}`, 4)},
		{"overflow", "too large", safe(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}`, 0)},
		{"rank", "33 axes", safe(`{"a":{"dtype":"U8","shape":[1`+strings.Repeat(",1", 32)+`],"data_offsets":[0,1]}}`, 1)},
		{"fraction", `"a"`, safe(`{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}`, 4)},
		{"no elements", "no elements", safe(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, 0)},
	}
	for _, c := range cases {
		_, _, err := readSafetensors(bytes.NewReader(c.file), int64(len(c.file)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected %q", c.name, err, c.want)
		}
	}
	if _, _, err := ReadSafetensors(filepath.Join(t.TempDir(), "absent")); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
}

// A file of another implementation, read and written, is read as the same.
func TestSafetensorsReference(t *testing.T) {
	s, meta, err := ReadSafetensors(testenv.Shared(t, "fixtures/weights/nino_no_posw.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 49 || meta["wte_pos_enc"] != "False" {
		t.Errorf("%d arrays, metadata %v", s.Len(), meta)
	}
	if d := Dims(s.Get("edge_out.fc.2.weight")); !slices.Equal(d, []int64{360, 128}) {
		t.Errorf("edge_out.fc.2.weight has shape %v", d)
	}
}

func FuzzReadSafetensors(f *testing.F) {
	f.Add(safe(`{"__metadata__":{"a":"b"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}`, 10))
	f.Add(safe(`{}`, 0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, meta, err := readSafetensors(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "s")
		if err := WriteSafetensors(path, s, meta, false); err != nil {
			t.Fatal(err)
		}
		again, _, err := ReadSafetensors(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range s.Names() {
			// NaNs differ from themselves; their bits must not.
			if v, ok := s.Get(n).Data().([]float32); ok {
				if !bytes.Equal(bytesOf(v), bytesOf(again.Get(n).Data().([]float32))) {
					t.Fatalf("%s changed", n)
				}
			} else if !reflect.DeepEqual(s.Get(n).Data(), again.Get(n).Data()) {
				t.Fatalf("%s changed", n)
			}
		}
	})
}
