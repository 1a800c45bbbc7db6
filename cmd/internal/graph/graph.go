// Package graph implements `ninox graph`: the neuron graph of a model, its
// certificate, and what changed between two models.
package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ninox/cmd/internal/app"
	"ninox/neuralgraph"
	"ninox/neuralgraph/certify"
	graphview "ninox/neuralgraph/view"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

type options struct {
	Model     string
	Format    string // "" until resolved
	View      string
	Expand    bool
	Out       string
	Verify    bool
	Overwrite bool
}

// NewCommand is `ninox graph` with its verb.
func NewCommand(a *app.App) *cobra.Command {
	cmd := newCommand(a, run)
	cmd.AddCommand(newDiff(a))
	return cmd
}

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "graph MODEL",
		Short: "Show the neuron graph of a model, and verify it",
		Long: `Derives the graph of neurons from a model's own data flow: groups of neurons that are permuted
together, and for every parameter the groups that it connects.

Parts that repeat are found by their structure and shown once, as ×12; --expand shows every copy,
and all groups and blocks. JSON always holds everything (docs/GRAPH_JSON.md). The page of --format
html needs no network; it unfolds parts one by one and shows neurons and operators side by side.

--verify runs the certificate: the neurons of every permutable group are permuted in all parameters
at once, and the outputs must stay the same; permuted in one parameter only, they must change.
The exit code is 3 where the certificate fails.`,
		Example: `  ninox graph model.onnx
  ninox graph model.onnx --verify --format json
  ninox graph model.onnx --view operators --expand
  ninox graph model.onnx -o graph.html    # or .svg, .png, .dot, .json, .txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Model = args[0]
			if err := o.resolve(c, a); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Format, "format", "", strings.Join(graphview.Formats(), ", ")+" (default: by the suffix of -o, else text; json with --json)")
	f.StringVar(&o.View, "view", "neurons", "neurons: layers of neurons and the parameters between them; operators: those of the model")
	f.BoolVar(&o.Expand, "expand", false, "show every copy of parts that repeat, and all groups and blocks")
	f.StringVarP(&o.Out, "out", "o", "", "file to write (default: standard output)")
	f.BoolVar(&o.Verify, "verify", false, "run the certificate")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the file of -o")
	app.Choices(cmd, "format", graphview.Formats())
	app.Choices(cmd, "view", views)
	return cmd
}

var views = []string{"neurons", "operators"}

// suffixes of files and the formats that they stand for.
var suffixes = map[string]string{
	".txt": "text", ".json": "json", ".dot": "dot", ".gv": "dot", ".svg": "svg", ".png": "png", ".html": "html", ".htm": "html",
}

// resolve settles the format and reports everything that is wrong.
func (o *options) resolve(c *cobra.Command, a *app.App) error {
	var f app.Faults
	f.OneOf("format", o.Format, graphview.Formats())
	f.OneOf("view", o.View, views)
	if o.View == "" {
		f.Addf(`--view "": expected one of %s`, strings.Join(views, ", "))
	}
	if o.Overwrite && o.Out == "" {
		f.Addf("--overwrite goes with -o")
	}
	suffix := strings.ToLower(filepath.Ext(o.Out))
	switch known := suffixes[suffix]; {
	case o.Format != "":
	case known != "":
		o.Format = known
	case suffix != "":
		f.Addf("-o %s: no format has the suffix %s; say --format", o.Out, suffix)
	case a.JSON:
		o.Format = "json"
	default:
		o.Format = "text"
	}
	if o.Format == "png" && o.Out == "" && isTerminal(a.Out) {
		f.Addf("--format png: a terminal cannot show it; say -o FILE")
	}
	return f.Err(c)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// view is a model in standard form, with its neuron graph and, where asked for,
// the certificate.
type view struct {
	model *onnxgraph.Model
	graph *neuralgraph.Graph
	cert  *certify.Certificate
}

// read analyses a model file.
func read(file string) (*view, error) {
	m, err := onnxgraph.ReadFile(file)
	if err != nil {
		return nil, err
	}
	v, err := analyse(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}

func analyse(m *onnxgraph.Model) (*view, error) {
	// Not of the standard form: there, constants of the computation can no
	// longer be told from weights.
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		return nil, err
	}
	return &view{model: g.Model(), graph: g}, nil
}

func run(ctx context.Context, a *app.App, o options) error {
	v, err := read(o.Model)
	if err != nil {
		return err
	}
	if o.Verify {
		engine, err := a.Engine(ctx)
		if err != nil {
			return err
		}
		if v.cert, err = certify.Run(ctx, engine, v.model, v.graph, certify.Options{Seed: a.Seed}); err != nil {
			return fmt.Errorf("%s: %w", o.Model, err)
		}
	}
	shown, err := graphview.New(filepath.Base(o.Model), v.graph, ops.Registry(), v.verdict())
	if err != nil {
		return fmt.Errorf("%s: %w", o.Model, err)
	}
	write := func(w io.Writer) error {
		return shown.Write(w, o.Format, graphview.Options{Operators: o.View == "operators", Expand: o.Expand})
	}
	if o.Out == "" {
		err = write(a.Out)
	} else {
		err = onnxgraph.WriteAtomic(o.Out, o.Overwrite, write)
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; --overwrite replaces it", err)
		}
	}
	if err != nil {
		return err
	}
	return verdict(v.cert)
}

// verdict is the certificate as a document holds it, nil where none was run.
func (v *view) verdict() *neuralgraph.Verdict {
	if v.cert == nil {
		return nil
	}
	return &neuralgraph.Verdict{Certificate: v.cert, Failed: v.cert.Failed}
}

// verdict is an error where the certificate fails.
func verdict(c *certify.Certificate) error {
	switch {
	case c == nil:
		return nil
	case len(c.Failed) > 0:
		return fmt.Errorf("%w: permuting %s changes the outputs", app.ErrCertificate, strings.Join(c.Failed, ", "))
	case c.Groups > 0 && !c.NegativeControl.Changed:
		return fmt.Errorf("%w: the outputs do not tell neurons apart", app.ErrCertificate)
	}
	return nil
}
