// Package data implements `ninox data`: which data sets there are and where,
// and bringing one to its place.
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

// NewCommand is `ninox data` with its verbs.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "List data sets and bring them to their place",
		Long: `Data sets are looked for in $NINOX_DATA/KIND, in the user's cache folder ninox/data/KIND and where
Debian's packages put them. ninox downloads no data.`,
	}
	cmd.AddCommand(newList(a), newFetch(a))
	return cmd
}

// Entry is what `data list` says about one kind of data.
type Entry struct {
	Kind     string   `json:"kind"`
	Spec     string   `json:"spec"` // as --data takes it
	About    string   `json:"about"`
	Found    string   `json:"found,omitempty"` // folder, or "embedded"
	Searched []string `json:"searched,omitempty"`
	Files    string   `json:"files,omitempty"`
	From     string   `json:"from,omitempty"`
}

func newList(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the kinds of data that --data takes, and where each was found",
		Example: `  ninox data list
  ninox data list --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runList(a) },
	}
}

func entries() []Entry {
	var out []Entry
	for _, s := range data.Sources() {
		e := Entry{Kind: s.Kind, Spec: s.Kind, About: s.About, Found: s.Find(), Searched: s.Places(), Files: s.Files, From: s.From}
		switch {
		case s.Path == "":
			e.Found = s.Kind
		case len(e.Searched) == 0:
			e.Spec += ":" + s.Path
		default:
			e.Spec += "[:" + s.Path + "]"
		}
		out = append(out, e)
	}
	return out
}

func runList(a *app.App) error {
	list := entries()
	if a.JSON {
		return a.WriteJSON(list)
	}
	for _, e := range list {
		where := "not found: get it from " + e.From
		switch {
		case e.Found == e.Kind:
			where = "part of the program"
		case e.Found != "":
			where = "found in " + e.Found
		case len(e.Searched) == 0:
			where = "name the file"
		}
		if _, err := fmt.Fprintf(a.Out, "%-20s %s\n%-20s %s\n", e.Spec, e.About, "", where); err != nil {
			return err
		}
	}
	return nil
}

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
		Short: "Check a data set and put it where --data KIND finds it",
		Long: `Reads the whole data set from --from, and copies or links its files into $NINOX_DATA/KIND or the
user's cache. Without --from it says where the data is, or where to get it.`,
		Example: `  ninox data fetch fashion-mnist
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
	for _, s := range data.Sources() {
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
		return locate(a, s)
	}
	split, err := data.Open(ctx, data.Spec{Kind: o.Kind, Path: o.From}.String())
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
	tests := 0
	if split.Test != nil {
		tests = split.Test.Len()
	}
	if a.JSON {
		return a.WriteJSON(map[string]any{"kind": o.Kind, "path": to, "train": split.Train.Len(), "test": tests})
	}
	_, err = fmt.Fprintf(a.Out, "%s: %d + %d samples in %s\n", o.Kind, split.Train.Len(), tests, to)
	return err
}

// locate says where the data is, or fails with where to get it.
func locate(a *app.App, s data.Source) error {
	found := s.Find()
	if found == "" {
		hint := ""
		if s.Kind == "fashion-mnist" {
			hint = " (apt-get install dataset-fashion-mnist)"
		}
		return fmt.Errorf("data %s: not found in %s; get %s from %s%s, then: ninox data fetch %s --from %s",
			s.Kind, strings.Join(s.Places(), ", "), s.Files, s.From, hint, s.Kind, s.Path)
	}
	if a.JSON {
		return a.WriteJSON(map[string]any{"kind": s.Kind, "path": found})
	}
	_, err := fmt.Fprintf(a.Out, "%s: found in %s\n", s.Kind, found)
	return err
}

// place copies or links files into a folder, as a whole or not at all.
func place(files map[string]string, to string, link, overwrite bool) error {
	if _, err := os.Lstat(to); err == nil && !overwrite {
		return fmt.Errorf("%s exists already; --overwrite replaces it", to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(to), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
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
