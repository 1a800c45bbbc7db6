package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// allocated is the memory that f takes, freed parts included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// overlapping is an npz file whose directory names the same deflated zeros
// again and again, which unpack to entries × size bytes.
func overlapping(t *testing.T, entries, size int) []byte {
	t.Helper()
	b := zipped(t, "00000.npy", npy(fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }\n", size/4), make([]byte, size)))
	central := bytes.LastIndex(b, []byte("PK\x01\x02"))
	end := bytes.LastIndex(b, []byte("PK\x05\x06"))
	record, tail := b[central:end], bytes.Clone(b[end:])
	out := bytes.Clone(b[:central])
	for i := range entries {
		at := len(out) + 46
		out = append(out, record...)
		copy(out[at:], fmt.Sprintf("%05d", i))
	}
	binary.LittleEndian.PutUint16(tail[8:], uint16(entries))
	binary.LittleEndian.PutUint16(tail[10:], uint16(entries))
	binary.LittleEndian.PutUint32(tail[12:], uint32(entries*len(record)))
	return append(out, tail...)
}

// Files that announce, or unpack to, far more than they hold are refused with
// little memory and in no time.
func TestBombs(t *testing.T) {
	deep := strings.Repeat("[", 1<<20)
	dims := "1" + strings.Repeat(",1", 1<<19)
	var many strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&many, `,"%d":{}`, i)
	}
	npz := func(b []byte) func() error {
		return func() error { _, err := readNPZ(bytes.NewReader(b), int64(len(b))); return err }
	}
	safetensors := func(b []byte) func() error {
		return func() error { _, _, err := readSafetensors(bytes.NewReader(b), int64(len(b))); return err }
	}
	entry := `{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}`
	for name, c := range map[string]struct {
		file []byte
		read func([]byte) func() error
		want string
	}{
		"npz, entries that overlap":     {overlapping(t, 2000, 1<<20), npz, "entries overlap"},
		"npz, stored as more":           {zipped(t, "a.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1125899906842624,), }\n", make([]byte, 64))), npz, "64 bytes of data"},
		"npz, a header of 4 GiB":        {zipped(t, "a.npy", append([]byte(npyMagic+"\x02\x00"), 0xff, 0xff, 0xff, 0xff)), npz, "a header of"},
		"safetensors, a length beyond":  {binary.LittleEndian.AppendUint64(nil, 1<<62), safetensors, "not a safetensors file"},
		"safetensors, header of 100 MB": {binary.LittleEndian.AppendUint64(nil, 99_999_999), safetensors, "not a safetensors file"},
		"safetensors, deep JSON":        {safe(`{"a":`+deep, 0), safetensors, "exceeded max depth"},
		"safetensors, deep metadata":    {safe(`{"__metadata__":`+deep, 0), safetensors, "exceeded max depth"},
		"safetensors, many axes":        {safe(fmt.Sprintf(entry, dims), 4), safetensors, "axes, at most"},
		"safetensors, overflow":         {safe(fmt.Sprintf(entry, "4294967296,4294967296"), 4), safetensors, "too large"},
		"safetensors, many names":       {safe("{"+many.String()[1:]+"}", 0), safetensors, "not supported"},
		"safetensors, negative offsets": {safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4), safetensors, "data_offsets"},
		"safetensors, huge offsets":     {safe(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775803,9223372036854775807]}}`, 4), safetensors, "gap or overlap"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			start := time.Now()
			used := allocated(func() { err = c.read(c.file)() })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %.200v, expected %q", err, c.want)
			}
			if limit := 64*uint64(len(c.file)) + 1<<20; used > limit {
				t.Errorf("%d bytes of memory for a file of %d", used, len(c.file))
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("refused after %v", took)
			}
		})
	}
}
