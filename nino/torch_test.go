package nino

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
)

func rezip(t *testing.T, edit func(name string, b []byte) []byte) string {
	t.Helper()
	z, err := zip.OpenReader(testenv.Shared(t, "fixtures/weights/nino_mlp_h32.pt"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var buf bytes.Buffer
	out := zip.NewWriter(&buf)
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(f.Name, "/")
		data := edit(name, b.Bytes())
		if data == nil {
			continue
		}
		w, err := out.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "w.pt")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImportRefuses(t *testing.T) {
	pickled := func(p string) func(string, []byte) []byte {
		return func(name string, b []byte) []byte {
			if name == "data.pkl" {
				return []byte(p)
			}
			return b
		}
	}
	swap := func(old, new string) func(string, []byte) []byte {
		return func(name string, b []byte) []byte {
			if name == "data.pkl" {
				return bytes.Replace(b, []byte(old), []byte(new), 1)
			}
			return b
		}
	}
	record := func(which string, b []byte) func(string, []byte) []byte {
		return func(name string, old []byte) []byte {
			if name == which {
				return b
			}
			return old
		}
	}
	cases := []struct {
		name, want string
		edit       func(string, []byte) []byte
	}{
		{"a call", "global posix.system is refused", pickled("\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.")},
		{"a class of torch", "global torch.load is refused", swap("ctorch\nFloatStorage", "ctorch\nload\x00\x00\x00\x00\x00\x00\x00\x00"[:len("ctorch\nload")])},
		{"an old global opcode", "opcode 0x69", pickled("\x80\x02(iposix\nsystem\n.")},
		{"a stack global", "opcode 0x93", pickled("\x80\x04\x93.")},
		{"bytes", "opcode 0x42", pickled("\x80\x03B\xff\xff\xff\xffa.")},
		{"a long string", "ends early", pickled("\x80\x02X\xff\xff\xff\x7fa.")},
		{"an empty integer", "integer of no bytes", pickled("\x80\x02\x8a\x00.")},
		{"no end", "without STOP", pickled("\x80\x02}")},
		{"an empty stack", "malformed|empty", pickled("\x80\x02u.")},
		{"a number", "expected a dict", pickled("\x80\x02K\x01.")},
		{"no tensor", "is no tensor", pickled("\x80\x02}X\x01\x00\x00\x00aK\x01s.")},
		{"no pickle", `"data.pkl" is missing`, record("data.pkl", nil)},
		{"no data", `"data/3" is missing`, record("data/3", nil)},
		{"short data", "has 8 bytes, expected", record("data/3", make([]byte, 8))},
		{"byte order", `byte order "big"`, record("byteorder", []byte("big"))},
		{"shape beyond the storage", "exceeds a storage", swap("K\x0fK \x86", "K\x10K \x86")},
		{"huge shape", "shape [", swap("K\x0fK \x86", "J\xff\xff\xff\x3fK \x86")},
	}
	for _, c := range cases {
		_, err := Import(rezip(t, c.edit))
		ok := false
		for _, want := range strings.Split(c.want, "|") {
			ok = ok || err != nil && strings.Contains(err.Error(), want)
		}
		if !ok {
			t.Errorf("%s: error %v, expected %q", c.name, err, c.want)
		}
	}
	if _, err := Import(rezip(t, func(_ string, b []byte) []byte { return b })); err != nil {
		t.Errorf("the unchanged file: %v", err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("PK"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(short); err == nil || !strings.Contains(err.Error(), "too short") {
		t.Errorf("error %v", err)
	}
	if _, err := Import(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestTorchStrides(t *testing.T) {
	v := []float32{0, 1, 2, 3, 4, 5, 6}
	got := gather(v, &torchTensor{offset: 1, dims: []int64{3, 2}, strides: []int64{1, 3}}, 6)
	if want := []float32{1, 4, 2, 5, 3, 6}; !slices.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
}

func FuzzUnpickle(f *testing.F) {
	f.Add([]byte("\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s."))
	f.Add([]byte("\x80\x02ccollections\nOrderedDict\n)R}b."))
	f.Add([]byte("\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ."))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := unpickle(b); err == nil {
			if _, err := modelArgs(d); err != nil {
				return
			}
		}
	})
}
