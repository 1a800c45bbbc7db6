package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ninox/onnxgraph"
)

// pictures is a list of labelled image files, wherever they lie.
type pictures struct {
	labels []int64
	// read is the content of file i; the result may use buf, and is valid until buf
	// is used again.
	read func(i int, buf []byte) ([]byte, error)
	// where names file i: "DIR/train/cat/1.png", "FILE.tar: entry cat/1.png".
	where func(i int) string
	sum   func() string // of what tells the pictures from others
	// content lists the files whose bytes the content hash covers; nil where sum does.
	content []int
}

// contentLimit is about how many bytes of files a content hash covers.
const contentLimit = 1 << 30

// contentHash is a hexadecimal SHA-256 of the files listed in content, "" for none.
// A file that cannot be read counts as such: training reports it when it gets
// there.
func (p *pictures) contentHash() string {
	if len(p.content) == 0 {
		return ""
	}
	sums := make([][sha256.Size]byte, len(p.content))
	var group errgroup.Group
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			var file []byte
			for {
				n := int(next.Add(1)) - 1
				if n >= len(sums) {
					return nil
				}
				var err error
				if file, err = p.read(p.content[n], file[:0]); err == nil {
					sums[n] = sha256.Sum256(file)
				}
			}
		})
	}
	group.Wait()
	h := sha256.New()
	for i, sum := range sums {
		fmt.Fprintln(h, p.content[i], sum)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// gallery is a data set of pictures that are decoded when they are first asked
// for, on all processors. Decoded ones are kept as bytes, as far as they fit into
// cacheLimit.
type gallery struct {
	name   string
	from   pictures
	frame  frame
	resize bool
	cols   []Column
	lut    [][256]float32

	lock  sync.Mutex // for writing to pixels
	cache []byte     // the first len(done) pictures
	done  []atomic.Bool
	hash  func() string
	bytes func() string // contentHash
}

// cacheLimit is the memory for decoded pictures of one data set, in bytes.
const cacheLimit = 4 << 30

// newGallery looks at the first picture, whose channels and, without a size, whose
// height and width are those of all.
func newGallery(name string, from pictures, size [2]int) (*gallery, error) {
	if len(from.labels) == 0 {
		return nil, fmt.Errorf("no images for %s", name)
	}
	first, err := from.read(0, nil)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(first, size)
	if err != nil {
		return nil, &FileError{from.where(0), -1, -1, err}
	}
	if f.height < 1 || f.width < 1 || f.size() > maxPixels {
		return nil, &FileError{from.where(0), -1, -1, fmt.Errorf("%dx%d pixels", f.width, f.height)}
	}
	g := &gallery{name: name, from: from, frame: f, resize: size != [2]int{}, cols: imageColumns(f), lut: normOf(f).table()}
	n := min(len(from.labels), cacheLimit/f.size())
	g.cache, g.done = make([]byte, n*f.size()), make([]atomic.Bool, n)
	g.bytes = sync.OnceValue(from.contentHash)
	g.hash = sync.OnceValue(func() string {
		h := sha256.New()
		fmt.Fprintln(h, f, g.resize, from.sum())
		binary.Write(h, binary.LittleEndian, from.labels)
		return hex.EncodeToString(h.Sum(nil))
	})
	return g, nil
}

// sized makes a test part like the training part: of the same shape.
func (g *gallery) sibling(name string, from pictures) (*gallery, error) {
	o, err := newGallery(name, from, [2]int{g.frame.height, g.frame.width})
	if err != nil {
		return nil, err
	}
	o.resize, o.frame, o.cols, o.lut = g.resize, g.frame, g.cols, g.lut
	return o, nil
}

func imageColumns(f frame) []Column {
	return []Column{
		{Name: "image", DType: onnxgraph.Float, Shape: []int64{int64(f.channels), int64(f.height), int64(f.width)}},
		{Name: "label", DType: onnxgraph.Int64, Shape: []int64{}},
	}
}

// Name implements Dataset.
func (g *gallery) Name() string { return g.name }

// Len implements Dataset.
func (g *gallery) Len() int { return len(g.from.labels) }

// Columns implements Dataset.
func (g *gallery) Columns() []Column { return g.cols }

// Hash implements Dataset: the SHA-256 of shape, files and labels.
func (g *gallery) Hash() string { return g.hash() }

// Batch implements Dataset.
func (g *gallery) Batch(indices []int, into []Buffer) error {
	if err := checkBuffers(g, indices, into); err != nil {
		return err
	}
	if into[1].Int64s != nil {
		for n, i := range indices {
			into[1].Int64s[n] = g.from.labels[i]
		}
	}
	if into[0].Floats == nil {
		return nil
	}
	return g.decode(indices, func(n int, pixels []byte) {
		standardise(into[0].Floats[n*len(pixels):(n+1)*len(pixels)], pixels, g.lut)
	})
}

// decode calls use with the pixels of every picture, from several goroutines.
func (g *gallery) decode(indices []int, use func(n int, pixels []byte)) error {
	workers := runtime.GOMAXPROCS(0)
	if !slices.ContainsFunc(indices, func(i int) bool { return !g.cached(i) }) {
		workers = 1 // a copy is too little for more
	}
	var group errgroup.Group
	var next atomic.Int64
	for range workers {
		group.Go(func() error {
			var file, pixels []byte
			for {
				n := int(next.Add(1)) - 1
				if n >= len(indices) {
					return nil
				}
				i, size := indices[n], g.frame.size()
				if g.cached(i) {
					use(n, g.cache[i*size:(i+1)*size])
					continue
				}
				if pixels == nil {
					pixels = make([]byte, size)
				}
				var err error
				if file, err = g.from.read(i, file[:0]); err != nil {
					return err
				}
				if err := g.frame.decode(file, g.resize, pixels); err != nil {
					return &FileError{g.from.where(i), -1, -1, err}
				}
				g.keep(i, pixels)
				use(n, pixels)
			}
		})
	}
	return group.Wait()
}

func (g *gallery) cached(i int) bool { return i < len(g.done) && g.done[i].Load() }

func (g *gallery) keep(i int, pixels []byte) {
	if i >= len(g.done) {
		return
	}
	g.lock.Lock()
	defer g.lock.Unlock()
	if !g.done[i].Load() {
		copy(g.cache[i*len(pixels):], pixels)
		g.done[i].Store(true)
	}
}

// images decodes all pictures into a data set in memory.
func (g *gallery) images(norm Norm) (*Images, error) {
	n, size := g.Len(), g.frame.size()
	pixels, labels, all := make([]byte, n*size), make([]byte, n), make([]int, n)
	for i, l := range g.from.labels {
		if l < 0 || l > 255 {
			return nil, fmt.Errorf("data %s: label %d of sample %d is outside 0..255", g.name, l, i)
		}
		all[i], labels[i] = i, byte(l)
	}
	if err := g.decode(all, func(n int, p []byte) { copy(pixels[n*size:], p) }); err != nil {
		return nil, err
	}
	return NewImages(g.name, g.frame.channels, g.frame.height, g.frame.width, pixels, labels, norm)
}

// filesInMemory are pictures whose files are kept as they are; from is where they
// come from, names are optional.
func filesInMemory(from string, names []string, files [][]byte, labels []int64) pictures {
	return pictures{
		labels: labels,
		read: func(i int, buf []byte) ([]byte, error) {
			if len(files[i]) == 0 {
				return nil, &FileError{from, int64(i), -1, errors.New("the image has no bytes")}
			}
			return append(buf, files[i]...), nil
		},
		where: func(i int) string {
			if names == nil {
				return fmt.Sprintf("%s: record %d", from, i)
			}
			return fmt.Sprintf("%s: entry %s", from, names[i])
		},
		sum: func() string {
			h := sha256.New()
			for _, f := range files {
				fmt.Fprintln(h, len(f))
				h.Write(f)
			}
			return hex.EncodeToString(h.Sum(nil))
		},
	}
}
