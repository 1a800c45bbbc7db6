package graph

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/neuralgraph/certify"
	graphview "ninox/neuralgraph/view"
)

// paths lists the fields of a type as they occur in JSON: "groups[].id".
func paths(t reflect.Type, prefix string) []string {
	switch t.Kind() {
	case reflect.Pointer:
		return paths(t.Elem(), prefix)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return paths(t.Elem(), prefix+"[]")
		}
	case reflect.Struct:
		var out []string
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name == "" {
				continue // not of the document
			}
			if prefix != "" {
				name = prefix + "." + name
			}
			out = append(out, paths(t.Field(i).Type, name)...)
		}
		return out
	}
	return []string{prefix}
}

// TestDocumentation: the page lists the fields of every document, no more and
// no fewer, in their order.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/GRAPH_JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	graph := paths(reflect.TypeFor[neuralgraph.Document](), "")
	graph = append(slices.DeleteFunc(graph, func(p string) bool { return p == "certificate" }), paths(reflect.TypeFor[certify.Certificate](), "certificate")...)
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	for schema, want := range map[string][]string{
		neuralgraph.Schema:       graph,
		graphview.OperatorSchema: paths(reflect.TypeFor[graphview.OperatorDocument](), ""),
		DiffSchema:               paths(reflect.TypeFor[Diff](), ""),
	} {
		_, section, found := strings.Cut(string(page), "## `"+schema+"`")
		if !found {
			t.Errorf("no section about %s", schema)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var got []string
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: documented are\n%q, expected\n%q", schema, got, want)
		}
	}
}
