package data

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/internal/testenv"
)

// idxBytes is an IDX file of unsigned bytes.
func idxBytes(dims []int, elements []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(0x0800+len(dims)))
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, uint32(d))
	}
	return append(b, elements...)
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// tinyIDX is a set of 3 training and 2 test images of 2x2 pixels.
func tinyIDX() map[string][]byte {
	return map[string][]byte{
		"train-images-idx3-ubyte": idxBytes([]int{3, 2, 2}, ramp(12)),
		"train-labels-idx1-ubyte": idxBytes([]int{3}, []byte{9, 0, 4}),
		"t10k-images-idx3-ubyte":  idxBytes([]int{2, 2, 2}, ramp(8)),
		"t10k-labels-idx1-ubyte":  idxBytes([]int{2}, []byte{1, 2}),
	}
}

func writeFiles(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestIDX(t *testing.T) {
	plain := tinyIDX()
	packed := map[string][]byte{}
	for name, b := range plain {
		packed[name+".gz"] = gz(t, b)
	}
	for _, files := range []map[string][]byte{plain, packed} {
		s, err := Open(context.Background(), "mnist:"+writeFiles(t, files))
		if err != nil {
			t.Fatal(err)
		}
		if s.Train.Len() != 3 || s.Test.Len() != 2 || s.Classes != 10 {
			t.Fatalf("got %d + %d samples of %d classes", s.Train.Len(), s.Test.Len(), s.Classes)
		}
		b := NewBatch(s.Train.Columns(), 2)
		if err := s.Train.Batch([]int{2, 0}, b.Buffers); err != nil {
			t.Fatal(err)
		}
		want := []float32{8, 9, 10, 11, 0, 1, 2, 3}
		for i, v := range want {
			if got, want := b.Buffers[0].Floats[i], (v/255-0.1307)/0.3081; got != want {
				t.Errorf("pixel %d is %v, expected %v", i, got, want)
			}
		}
		if l := b.Buffers[1].Int64s; l[0] != 4 || l[1] != 9 {
			t.Errorf("labels %v, expected [4 9]", l)
		}
	}
}

func TestIDXErrors(t *testing.T) {
	images, labels := "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
	for _, c := range []struct {
		name string
		edit func(f map[string][]byte)
		want []string
	}{
		{"missing", func(f map[string][]byte) { delete(f, labels) }, []string{labels, "no such file"}},
		{"magic", func(f map[string][]byte) { f[images][3] = 1 }, []string{images, "at byte 0", "0x00000801", "expected 0x00000803"}},
		{"short header", func(f map[string][]byte) { f[images] = f[images][:6] }, []string{images, "at byte 6", "header of 16 bytes expected"}},
		{"short", func(f map[string][]byte) { f[images] = f[images][:20] }, []string{images, "at byte 20", "need 12 bytes", "got 4"}},
		{"long", func(f map[string][]byte) { f[images] = append(f[images], 0) }, []string{images, "at byte 28", "goes on"}},
		{"huge", func(f map[string][]byte) { f[images][4] = 255 }, []string{images, "at byte 4", "exceed"}},
		{"label", func(f map[string][]byte) { f[labels][9] = 10 }, []string{labels, "label 10 of sample 1", "0..9"}},
		{"count", func(f map[string][]byte) { f[labels] = idxBytes([]int{2}, []byte{1, 2}) }, []string{"3 images but 2 labels"}},
		{"truncated gzip", func(f map[string][]byte) {
			z := gz(t, f[images])
			delete(f, images)
			f[images+".gz"] = z[:len(z)-9]
		}, []string{images + ".gz", "the file ends there"}},
		{"no gzip", func(f map[string][]byte) { f[images+".gz"] = []byte("<html>") }, []string{images + ".gz", "not a gzip file"}},
		{"checksum", func(f map[string][]byte) {
			z := gz(t, f[images])
			z[len(z)-6] ^= 1
			f[images+".gz"] = z
		}, []string{images + ".gz", "checksum"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := tinyIDX()
			c.edit(files)
			_, err := Open(context.Background(), "fashion-mnist:"+writeFiles(t, files))
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
		})
	}
}

func TestFashionMNIST(t *testing.T) {
	s, err := Open(context.Background(), "fashion-mnist:"+testenv.Shared(t, "data/fashion-mnist"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Train.Len() != 60000 || s.Test.Len() != 10000 {
		t.Fatalf("got %d + %d images", s.Train.Len(), s.Test.Len())
	}
	if n := s.HoldOut(12).Train.Len(); n != 55000 {
		t.Errorf("a twelfth held out leaves %d images, expected 55000", n)
	}
	full := map[string]bool{}
	for i := range s.Train.Len() {
		p, l := s.Train.(*Images).Pixels(i)
		full[string(p)+string(rune(l))] = true
	}
	e, err := Open(context.Background(), "embedded")
	if err != nil {
		t.Fatal(err)
	}
	for i := range e.Train.Len() {
		if p, l := e.Train.(*Images).Pixels(i); !full[string(p)+string(rune(l))] {
			t.Fatalf("embedded image %d with label %d is not in FashionMNIST", i, l)
		}
	}
}

func TestMNIST(t *testing.T) {
	s, err := Open(context.Background(), "mnist:"+testenv.Shared(t, "data/mnist"))
	if err != nil {
		t.Fatal(err)
	}
	if _, first := s.Train.(*Images).Pixels(0); s.Train.Len() != 60000 || s.Test.Len() != 10000 || first != 5 {
		t.Errorf("got %d + %d images, the first a %d, expected 60000 + 10000, a 5", s.Train.Len(), s.Test.Len(), first)
	}
}

func TestEmbedded(t *testing.T) {
	s, err := Open(context.Background(), "embedded")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		d        Dataset
		perClass int
	}{{s.Train, 1200}, {s.Test, 200}} {
		var count [10]int
		for i := range part.d.Len() {
			_, l := part.d.(*Images).Pixels(i)
			count[l]++
		}
		for c, n := range count {
			if n != part.perClass {
				t.Errorf("%s: class %d has %d images, expected %d", part.d.Name(), c, n, part.perClass)
			}
		}
	}
	if !strings.Contains(EmbeddedLicense, "Zalando") {
		t.Error("the licence of the embedded images is missing")
	}
}

func FuzzReadIDX(f *testing.F) {
	for _, b := range tinyIDX() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, end, err := readIDX(bytes.NewReader(b), 3, 0)
		if err == nil && (len(a.data) != a.dims[0]*a.dims[1]*a.dims[2] || end > int64(len(b))) {
			t.Errorf("%d elements for dimensions %v, %d of %d bytes read", len(a.data), a.dims, end, len(b))
		}
	})
}
