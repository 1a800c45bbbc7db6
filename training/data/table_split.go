package data

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// Names that columns usually have, where several could be meant.
var (
	labelNames   = []string{"label", "labels", "fine_label", "class", "target"}
	pictureNames = []string{"image", "img", "bytes"}
	textNames    = []string{"text", "content", "sentence"}
)

// openTableFiles reads Parquet or Arrow files. What they hold follows from their
// columns: images with a label, else text, else numbers.
func openTableFiles(ctx context.Context, kind, list string, o Options) (*Split, error) {
	if list == standardInput {
		return nil, errors.New("standard input is a stream, which comes once: only arrow:- to train on is read from there; name a file")
	}
	files, err := filesOf(list, func(name string) bool { return filepath.Ext(name) == "."+kind })
	if err != nil {
		return nil, err
	}
	open := openArrow
	if kind == "parquet" {
		open = openParquet
	}
	train, test := partition(files, "")
	s := &Split{Name: kind}
	part := tableReader{kind: kind, open: open, options: o, split: s}
	if s.Train, err = part.read(ctx, "train", train); err != nil || len(test) == 0 {
		return part.finish(err)
	}
	s.Test, err = part.read(ctx, "test", test)
	return part.finish(err)
}

// tableReader makes the parts of one data set out of tables.
type tableReader struct {
	kind    string
	open    func(string) (table, error)
	options Options
	split   *Split
	first   *gallery // of images: the training part
	text    *textParts
}

func (r *tableReader) read(ctx context.Context, part string, files []string) (Dataset, error) {
	t, err := openTables(files, r.open)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	name := r.kind + ":" + baseNames(files)
	has := func(k fieldKind) []string { return fieldNames(t.Fields(), func(f field) bool { return f.Kind == k }) }
	switch pictures, texts := has(fieldPicture), has(fieldText); {
	case len(pictures) > 0:
		return r.images(ctx, name+"/"+part, files, t)
	case len(texts) > 0 && (r.options.Tokenizer != "" || len(fieldNames(t.Fields(), field.numeric)) == 0):
		return nil, r.tokens(ctx, part, name, t)
	}
	return readArrays(ctx, name, t)
}

// finish cuts text into its parts, once all of it has been read.
func (r *tableReader) finish(err error) (*Split, error) {
	if err == nil && r.text != nil {
		err = r.text.split(r.split)
	}
	if err != nil {
		return nil, err
	}
	return r.split, nil
}

func baseNames(files []string) string {
	if len(files) > 3 {
		return fmt.Sprintf("%s and %d more", filepath.Base(files[0]), len(files)-1)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(filepath.Base(f), ".gz")
	}
	return strings.Join(names, ",")
}

// choose finds the field of a kind: one of the usual names, or the only one.
func choose(t table, what string, usual []string, fits func(field) bool) (int, error) {
	names := fieldNames(t.Fields(), fits)
	name := ""
	for _, u := range slices.Backward(usual) {
		if slices.Contains(names, u) {
			name = u
		}
	}
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if name == "" {
		return 0, fmt.Errorf("expected one column %s, or one named %s; columns are %s", what, strings.Join(usual, ", "), describe(t.Fields()))
	}
	return slices.IndexFunc(t.Fields(), func(f field) bool { return f.Name == name }), nil
}

func (r *tableReader) images(ctx context.Context, name string, files []string, t *tables) (Dataset, error) {
	at, label, err := pictureFields(t)
	if err != nil {
		return nil, err
	}
	var blobs [][]byte
	var labels []int64
	if err := rowsOf(ctx, t, func(chunk []series) error {
		blobs, labels = append(blobs, chunk[at].blobs...), append(labels, chunk[label].ints...)
		return nil
	}); err != nil {
		return nil, err
	}
	from := filesInMemory(strings.Join(files, ","), nil, blobs, labels)
	var g *gallery
	if r.first == nil {
		g, err = newGallery(name, from, r.options.ImageSize)
		r.first = g
	} else {
		g, err = r.first.sibling(name, from)
	}
	if err != nil {
		return nil, err
	}
	r.split.Classes = max(r.split.Classes, classesOf(t, t.Fields()[label].Name, labels))
	return g, nil
}

// pictureFields finds the columns of images and of labels.
func pictureFields(t table) (at, label int, err error) {
	if at, err = choose(t, "of images", pictureNames, func(f field) bool { return f.Kind == fieldPicture }); err != nil {
		return 0, 0, err
	}
	label, err = choose(t, "of whole numbers", labelNames, func(f field) bool { return f.Kind == fieldInts && f.Rank == 0 })
	return at, label, err
}

// classesOf is the number of classes: that of the names in a file, or what the
// labels need.
func classesOf(t table, column string, labels []int64) int {
	if n := namedClasses(t, column); n > 0 {
		return n
	}
	return int(slices.Max(labels)) + 1
}

// namedClasses is the number of class names which the datasets library of Hugging
// Face leaves in a file, 0 where there are none.
func namedClasses(t table, column string) int {
	var meta struct {
		Info struct {
			Features map[string]struct {
				Names []string `json:"names"`
			} `json:"features"`
		} `json:"info"`
	}
	if err := json.Unmarshal([]byte(t.Metadata("huggingface")), &meta); err != nil {
		return 0
	}
	return len(meta.Info.Features[column].Names)
}

// tokens adds the text of a table to that of its part. Rows follow each other as
// they are, in the files of Hugging Face's WikiText with their line breaks; where
// they have none, one is put between them.
func (r *tableReader) tokens(ctx context.Context, part, name string, t *tables) error {
	at, err := choose(t, "of text", textNames, func(f field) bool { return f.Kind == fieldText })
	if err != nil {
		return err
	}
	if r.text == nil {
		if r.text, err = newTextParts(name, r.options); err != nil {
			return err
		}
	}
	begin := true
	return rowsOf(ctx, t, func(chunk []series) error {
		err := r.text.add(part, joinRows(chunk[at].blobs), begin)
		begin = false
		return err
	})
}

func joinRows(rows [][]byte) []byte {
	var out bytes.Buffer
	for _, row := range rows {
		out.Write(row)
		if len(row) > 0 && !bytes.HasSuffix(row, []byte("\n")) {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// readArrays collects the numeric columns of a table.
func readArrays(ctx context.Context, name string, t *tables) (Dataset, error) {
	fields := t.Fields()
	if len(fieldNames(fields, field.numeric)) == 0 {
		return nil, fmt.Errorf("no column of images, text or numbers; columns are %s", describe(fields))
	}
	all := make([]series, len(fields))
	if err := rowsOf(ctx, t, func(chunk []series) error {
		for i := range chunk {
			c, a := &chunk[i], &all[i]
			if !fields[i].numeric() || c.rows == 0 {
				continue
			}
			if err := a.shaped(c.dims); err != nil {
				return fmt.Errorf("column %q: %w", fields[i].Name, err)
			}
			a.rows += c.rows - 1
			a.floats, a.ints = append(a.floats, c.floats...), append(a.ints, c.ints...)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return arraysOf(name, fields, all)
}

// arraysOf makes a data set of the numeric columns of rows, which it keeps.
func arraysOf(name string, fields []field, all []series) (Dataset, error) {
	set := &weights.Set{}
	for i, f := range fields {
		a := &all[i]
		dims := append([]int64{int64(a.rows)}, a.dims...)
		switch {
		case !f.numeric():
		case a.rows == 0:
			return nil, fmt.Errorf("data %s: no rows", name)
		case f.dtype() == onnxgraph.Int64:
			set.Add(f.Name, weights.DenseInt64s(dims, a.ints))
		default:
			set.AddFloats(f.Name, dims, a.floats)
		}
	}
	return NewArrays(name, set)
}
