package bench

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"ninox/onnxgraph"
	"ninox/training/bench"
)

// output is what --json prints, and results.json holds.
type output struct {
	Protocol *bench.Protocol `json:"protocol"`
	*bench.Results
}

// report writes results, tables and pictures, and prints the table.
func (b *benchRun) report(ctx context.Context) error {
	res, err := bench.Evaluate(b.protocol, b.rates, b.outcomes)
	if err != nil {
		return err
	}
	out := output{b.protocol, res}
	if err := bench.WriteJSON(filepath.Join(b.dir, resultsFile), out); err != nil {
		return err
	}
	err = onnxgraph.WriteAtomic(filepath.Join(b.dir, tableFile), true, func(w io.Writer) error { return bench.WriteTable(w, b.protocol, res) })
	if err != nil {
		return err
	}
	pictures, err := b.pictures(ctx)
	if err != nil {
		// The results are there; pictures are an extra.
		b.app.Notef("report without pictures: %v", err)
	}
	path := filepath.Join(b.dir, reportFile)
	if err := bench.WriteReport(path, b.protocol, res, b.outcomes, pictures); err != nil {
		return err
	}
	if b.app.JSON {
		return b.app.WriteJSON(out)
	}
	if err := bench.WriteTable(b.app.Out, b.protocol, res); err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.app.Out, "\nreport: %s\n", path)
	return err
}
