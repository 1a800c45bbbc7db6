// Package text implements `ninox text`: models as text, and back.
package text

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/onnxgraph/text"
)

type options struct {
	Model     string
	Out       string
	Elide     int
	Overwrite bool
}

// NewCommand is `ninox text`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "text MODEL",
		Short: "Write a model as text in the syntax of the ONNX specification, or read such a text",
		Long: `Prints a model in the textual syntax of the ONNX specification, which onnx.parser reads as well.
MODEL is an .onnx file or a text; which of the two is seen from its content. With -o F.onnx the result is a
model file, with any other name a text. Texts hold all of a model, and are read back as the same model;
what the official syntax has no words for stands in comments that begin with #@.

--elide N shortens tensors and lists to N elements and leaves those comments out, for reading. Such a text
cannot be read back.

Data that lies outside the model file stays there; the text refers to it.`,
		Example: `  ninox text model.onnx --elide 8
  ninox text model.onnx -o model.onnxtxt
  ninox text model.onnxtxt -o model.onnx`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Model = args[0]
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "file to write: a model file if its name ends in .onnx, else a text (default: text on standard output)")
	f.IntVar(&o.Elide, "elide", 0, "show only that many elements of tensors and lists; 0 means all")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the file of -o")
	return cmd
}

// toModel says whether the output is a model file.
func (o *options) toModel() bool { return strings.HasSuffix(o.Out, ".onnx") }

func (o *options) check(c *cobra.Command) error {
	var f app.Faults
	if o.Elide < 0 {
		f.Addf("--elide %d: expected at least 0", o.Elide)
	}
	if o.Elide > 0 && o.toModel() {
		f.Addf("--elide is for texts, and %s will be a model file", o.Out)
	}
	if o.Overwrite && o.Out == "" {
		f.Addf("--overwrite goes with -o")
	}
	return f.Err(c)
}

func run(_ context.Context, a *app.App, o options) error {
	m, err := Read(o.Model)
	if err != nil {
		return err
	}
	switch {
	case o.Out == "":
		err = text.Print(a.Out, m, text.Options{Elide: o.Elide})
	case o.toModel():
		err = m.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite})
	default:
		err = onnxgraph.WriteAtomic(o.Out, o.Overwrite, func(w io.Writer) error {
			return text.Print(w, m, text.Options{Elide: o.Elide})
		})
	}
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w; --overwrite replaces it", err)
	}
	return err
}

// Read reads a model from an .onnx file or a text. Errors in a text begin with
// FILE:LINE:COLUMN.
func Read(file string) (*onnxgraph.Model, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 64)
	n, _ := io.ReadFull(f, head) // what cannot be read here is an error of ReadFile
	if !text.IsText(head[:n]) {
		return onnxgraph.ReadFile(file)
	}
	rest, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	m, err := text.Parse(append(head[:n], rest...))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	return m, nil
}
