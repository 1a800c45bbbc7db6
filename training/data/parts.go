package data

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// partWords are the names that parts of data sets go by in file and folder names.
var partWords = map[string]string{
	"train": "train", "training": "train",
	"test": "test", "testing": "test", "heldout": "test",
	"valid": "validation", "validation": "validation", "val": "validation", "dev": "validation",
}

// partOf is the part of a data set that a file or folder name speaks of: "train",
// "test" or "validation"; "" for none. "train-00000-of-00002.parquet",
// "wiki.valid.tokens" and "heldout-monolingual.tokenized.shuffled" name one.
func partOf(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune(".-_ ", r) })
	for _, w := range words {
		if p, ok := partWords[w]; ok {
			return p
		}
	}
	return ""
}

// partOfPath is the part that a file's name or, failing that, its folder speaks of.
func partOfPath(file string) string {
	if p := partOf(filepath.Base(file)); p != "" {
		return p
	}
	return partOf(filepath.Base(filepath.Dir(file)))
}

// filesOf are the files that a list names: files, folders and patterns, separated
// by commas. Of folders, those that keep accepts count, in order of their paths.
func filesOf(list string, keep func(name string) bool) ([]string, error) {
	var out []string
	for _, pattern := range strings.Split(list, ",") {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		if exists(pattern) {
			found = []string{pattern} // a name with brackets in it is still a name
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no such file", pattern)
		}
		slices.Sort(found)
		for _, f := range found {
			if !isDir(f) {
				out = append(out, f)
				continue
			}
			below, err := filesBelow(f, keep)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no files of that kind in it", list)
	}
	return out, nil
}

func filesBelow(dir string, keep func(name string) bool) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") && keep(d.Name()) {
			out = append(out, p)
		}
		return err
	})
	return out, err
}

// partition sorts files into training and test files. Only where some file names
// name each of the two parts they count; else all files are for training. Of
// files for testing and for validation the former are taken, unless prefer says
// otherwise.
func partition(files []string, prefer string) (train, test []string) {
	parts := map[string][]string{}
	for _, f := range files {
		p := partOfPath(f)
		parts[p] = append(parts[p], f)
	}
	test = testPart(parts)
	if of := parts[prefer]; len(of) > 0 {
		test = of
	}
	if len(parts["train"]) == 0 || len(test) == 0 {
		if train = slices.Concat(parts[""], parts["train"]); len(train) == 0 {
			train = files
		}
		return train, nil
	}
	return parts["train"], test
}
