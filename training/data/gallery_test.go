package data

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func encodePNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pngOf is a square of one colour.
func pngOf(t testing.TB, side int, r, g, b byte) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		img.Set(i%side, i/side, color.NRGBA{r, g, b, 255})
	}
	return encodePNG(t, img)
}

func greyPNG(t testing.TB, side int, v byte) []byte {
	img := image.NewGray(image.Rect(0, 0, side, side))
	for i := range img.Pix {
		img.Pix[i] = v
	}
	return encodePNG(t, img)
}

// imageFolder is a data set of two classes with 3 + 1 pictures.
func imageFolder(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"train/cat/1.png": pngOf(t, 4, 1, 2, 3), "train/cat/2.png": pngOf(t, 4, 4, 5, 6),
		"train/dog/1.png": pngOf(t, 4, 7, 8, 9), "test/dog/1.png": pngOf(t, 4, 10, 11, 12),
		"train/README.txt": []byte("no picture"),
	}
}

func writeTree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func tarOf(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: "set/" + name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImages(t *testing.T) {
	files := imageFolder(t)
	archives := writeFiles(t, map[string][]byte{"a.tar": tarOf(t, files), "a.tar.gz": gz(t, tarOf(t, files))})
	lut := NormImageNet.table()
	for _, from := range []string{writeTree(t, files), filepath.Join(archives, "a.tar"), filepath.Join(archives, "a.tar.gz")} {
		s, err := Open(context.Background(), "images:"+from)
		if err != nil {
			t.Fatal(err)
		}
		if s.Train.Len() != 3 || s.Test.Len() != 1 || s.Classes != 2 {
			t.Fatalf("%s: %d + %d images of %d classes", from, s.Train.Len(), s.Test.Len(), s.Classes)
		}
		for range 2 { // decoded, then from the cache
			for i, want := range []struct {
				red   byte
				label int64
			}{{1, 0}, {7, 1}, {4, 0}} { // by file name, then class
				if b := sampleOf(t, s.Train, i); b[0].Floats[0] != lut[0][want.red] || b[0].Floats[47] != lut[2][want.red+2] || b[1].Int64s[0] != want.label {
					t.Errorf("%s: image %d is %v … of label %d", from, i, b[0].Floats[0], b[1].Int64s[0])
				}
			}
		}
	}
}

func TestImagesWithoutParts(t *testing.T) {
	s, err := Open(context.Background(), "images:"+writeTree(t, map[string][]byte{"a/1.png": greyPNG(t, 28, 9), "b/1.png": greyPNG(t, 28, 1)}))
	if err != nil {
		t.Fatal(err)
	}
	if s.Test != nil || s.Train.Len() != 2 || columnList(s.Train.Columns()) != "image float[1,28,28], label int64[]" {
		t.Errorf("%d images of %s, test part %v", s.Train.Len(), columnList(s.Train.Columns()), s.Test)
	}
	if b := sampleOf(t, s.Train, 0); b[0].Floats[0] != NormMNIST.table()[0][9] {
		t.Errorf("pixel %v", b[0].Floats[0])
	}
}

// Pictures are scaled until they cover the frame, and their middle is taken.
func TestImageSize(t *testing.T) {
	wide := image.NewNRGBA(image.Rect(0, 0, 30, 10)) // red, green, blue squares
	for i := range 300 {
		wide.Set(i%30, i/30, [3]color.NRGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}}[i%30/10])
	}
	dir := writeTree(t, map[string][]byte{"a/1.png": encodePNG(t, wide), "a/2.png": pngOf(t, 7, 50, 60, 70), "a/3.png": greyPNG(t, 5, 80)})
	if _, err := Open(context.Background(), "images:"+dir); err != nil {
		t.Fatalf("the first picture alone says nothing yet: %v", err)
	}
	s, err := OpenWith(context.Background(), "images:"+dir, Options{ImageSize: [2]int{4, 4}})
	if err != nil {
		t.Fatal(err)
	}
	lut := NormImageNet.table()
	for i, want := range [][3]byte{{0, 255, 0}, {50, 60, 70}, {80, 80, 80}} {
		b := sampleOf(t, s.Train, i)
		for p := range 48 {
			if b[0].Floats[p] != lut[p/16][want[p/16]] {
				t.Fatalf("picture %d: value %d is %v, expected %v", i, p, b[0].Floats[p], lut[p/16][want[p/16]])
			}
		}
	}
}

// A picture that cannot be read fails the batch that asks for it, no other, and
// the error names it.
func TestImageFaults(t *testing.T) {
	good := pngOf(t, 4, 1, 2, 3)
	for name, k := range map[string]struct {
		content []byte
		want    string
	}{
		"truncated": {good[:len(good)-20], "unexpected EOF"},
		"size":      {pngOf(t, 5, 0, 0, 0), "5x5 pixels, expected 4x4; --image-size"},
		"text":      {[]byte("hello"), "no JPEG or PNG: its 5 bytes begin with 68 65 6c 6c"},
		"empty":     {nil, "no JPEG or PNG"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{"a/1.png": good, "a/2.png": k.content, "a/3.png": good}
			archive := filepath.Join(writeFiles(t, map[string][]byte{"a.tar": tarOf(t, files)}), "a.tar")
			for _, from := range []string{writeTree(t, files), archive} {
				s, err := Open(context.Background(), "images:"+from)
				if err != nil {
					t.Fatal(err)
				}
				b := NewBatch(s.Train.Columns(), 2)
				if err := s.Train.Batch([]int{0, 2}, b.Buffers); err != nil {
					t.Errorf("the sound pictures: %v", err)
				}
				err = s.Train.Batch([]int{2, 1}, b.Buffers)
				var f *FileError
				if !errors.As(err, &f) || !strings.HasPrefix(f.File, from) || !strings.HasSuffix(f.File, filepath.FromSlash("a/2.png")) || !strings.Contains(err.Error(), k.want) {
					t.Errorf("error %v, expected the file and %q", err, k.want)
				}
			}
		})
	}
	if _, err := Open(context.Background(), "images:"+writeTree(t, map[string][]byte{"1.png": good})); err == nil || !strings.Contains(err.Error(), "expected CLASS/NAME") {
		t.Errorf("a picture without a class: %v", err)
	}
	mixed := map[string][]byte{"a/1.png": greyPNG(t, 4, 1), "a/2.png": good}
	s, err := Open(context.Background(), "images:"+writeTree(t, mixed))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Train.Batch([]int{1}, NewBatch(s.Train.Columns(), 1).Buffers); err == nil || !strings.Contains(err.Error(), "in colour among grey ones") {
		t.Errorf("error %v", err)
	}
	whole := gz(t, tarOf(t, imageFolder(t)))
	cut := filepath.Join(writeFiles(t, map[string][]byte{"cut.tar.gz": whole[:len(whole)/2]}), "cut.tar.gz")
	if _, err := Open(context.Background(), "images:"+cut); err == nil || !strings.Contains(err.Error(), "cut.tar.gz: record") {
		t.Errorf("a truncated archive: %v", err)
	}
}

func TestPartOf(t *testing.T) {
	for path, want := range map[string]string{
		"train-00000-of-00002.parquet": "train", "wiki.valid.tokens": "validation", "wiki.test.raw": "test",
		"heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050": "test",
		"training-monolingual.tokenized.shuffled/news.en-00001-of-00100":        "train",
		"contest.txt": "", "latest/trained.txt": "",
	} {
		if got := partOfPath(path); got != want {
			t.Errorf("%s: %q, expected %q", path, got, want)
		}
	}
}

// BenchmarkGallery compares a first epoch, which decodes, with the later ones.
func BenchmarkGallery(b *testing.B) {
	files := make([][]byte, 512)
	for i := range files {
		files[i] = jpegBytes(b, 32, color.RGBA{byte(i), 100, 50, 255})
	}
	indices := Order{Samples: len(files), Batch: 128, Shuffle: true}.Epoch(0)[:128]
	for _, k := range []struct {
		name string
		keep bool
	}{{"decode", false}, {"cached", true}} {
		b.Run(k.name, func(b *testing.B) {
			g, err := newGallery("bench", filesInMemory("bench", nil, files, make([]int64, len(files))), [2]int{})
			if err != nil {
				b.Fatal(err)
			}
			if !k.keep {
				g.done = nil
			}
			batch := NewBatch(g.Columns(), len(indices))
			for b.Loop() {
				if err := g.Batch(indices, batch.Buffers); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(indices)), "ns/image")
		})
	}
}

// The content hash covers the bytes of files that Hash leaves out, so that a
// damaged file can be mended between two parts of a run.
func TestContentHash(t *testing.T) {
	files := imageFolder(t)
	dir := writeTree(t, files)
	archives := writeFiles(t, map[string][]byte{"a.tar": tarOf(t, files), "a.tar.gz": gz(t, tarOf(t, files))})
	hashes := func(from string) (hash, content string) {
		s, err := Open(context.Background(), "images:"+from)
		if err != nil {
			t.Fatal(err)
		}
		return s.Train.Hash(), ContentHash(Spread(Head(s.Train, 3), 2))
	}
	hash, content := hashes(dir)
	if h, c := hashes(filepath.Join(archives, "a.tar")); h != hash || c != content || len(c) != 64 {
		t.Errorf("of the same files in a tar: %s, %s, expected %s, %s", h, c, hash, content)
	}
	packed, none := hashes(filepath.Join(archives, "a.tar.gz"))
	if packed == hash || none != "" {
		t.Errorf("files in memory: %s, %q", packed, none)
	}
	changed := slices.Clone(files["train/cat/2.png"])
	changed[len(changed)-1] ^= 1 // of the same size
	if err := os.WriteFile(filepath.Join(dir, "train", "cat", "2.png"), changed, 0o644); err != nil {
		t.Fatal(err)
	}
	if h, c := hashes(dir); h != hash || c == content {
		t.Errorf("after a change of a byte: hash %s, content %s", h, c)
	}
}

// Of large sets, files are chosen evenly.
func TestContentOf(t *testing.T) {
	list := make([]picture, 10)
	for i := range list {
		list[i].size = contentLimit / 4
	}
	if got := contentOf(list); !slices.Equal(got, []int{0, 3, 6, 9}) { // 2.5 limits
		t.Errorf("of ten files: %v", got)
	}
	if got := contentOf(list[:4]); len(got) != 4 {
		t.Errorf("of four files: %v", got)
	}
}
