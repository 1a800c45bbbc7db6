// Package data implements `ninox data`: which data sets there are and where,
// and bringing one to its place.
package data

import (
	"fmt"
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
Debian's packages put them.`,
	}
	cmd.AddCommand(newList(a), newFetch(a))
	return cmd
}

// Entry is what `data list` says about one kind of data.
type Entry struct {
	Kind     string   `json:"kind"`
	Spec     string   `json:"spec"` // as --data takes it
	About    string   `json:"about"`
	Licence  string   `json:"licence,omitempty"`
	Bytes    int64    `json:"bytes,omitempty"`   // of the files, about
	Package  string   `json:"package,omitempty"` // that fetch brings: "npm NAME VERSION"
	Found    string   `json:"found,omitempty"`   // folder, or "embedded"
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
	for _, s := range all() {
		e := Entry{
			Kind: s.Kind, Spec: s.Kind, About: s.About, Licence: s.Licence, Bytes: s.Bytes,
			Found: s.Find(), Searched: s.Places(), Files: s.Files, From: s.From,
		}
		if p := s.Package; p != nil {
			e.Package = p.Client + " " + p.Name + " " + p.Version
		}
		switch {
		case s.Path == "":
			e.Found = s.Kind
		case s.Tokenizer:
		case len(e.Searched) == 0:
			e.Spec += ":" + s.Path
		default:
			e.Spec += "[:" + s.Path + "]"
		}
		out = append(out, e)
	}
	return out
}

// all are the kinds of data and the tokenizers.
func all() []data.Source { return append(data.Sources(), data.Tokenizers()...) }

func runList(a *app.App) error {
	list := entries()
	if a.JSON {
		return a.WriteJSON(list)
	}
	for _, e := range list {
		about := []string{e.About}
		if e.Bytes > 0 {
			about = append(about, fmt.Sprintf("%.1f MB, licence: %s", float64(e.Bytes)/1e6, e.Licence))
		}
		if _, err := fmt.Fprintf(a.Out, "%-20s %s\n", e.Spec, strings.Join(append(about, e.where()), "\n"+strings.Repeat(" ", 21))); err != nil {
			return err
		}
	}
	return nil
}

// where says where the data is, or how to get it.
func (e *Entry) where() string {
	switch {
	case e.Found == e.Kind:
		return "part of the program"
	case e.Found != "":
		return "found in " + e.Found
	case len(e.Searched) == 0:
		return "name the file"
	case e.Package != "":
		return fmt.Sprintf("not found: 'ninox data fetch %s' brings it, %s", e.Kind, e.From)
	}
	return "not found: get it from " + e.From
}
