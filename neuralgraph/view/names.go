package view

import (
	"regexp"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

var digits = regexp.MustCompile(`\d+`)

// pattern is what the names of the copies of one thing have in common: numbers
// that differ are stars. Where more differs, it is the first name.
func pattern(names []string) string {
	if len(names) == 0 {
		return ""
	}
	texts, numbers := digits.Split(names[0], -1), digits.FindAllString(names[0], -1)
	for _, n := range names[1:] {
		other := digits.FindAllString(n, -1)
		if len(other) != len(numbers) || strings.Join(digits.Split(n, -1), "\x00") != strings.Join(texts, "\x00") {
			return names[0]
		}
		for i, d := range other {
			if d != numbers[i] {
				numbers[i] = "*"
			}
		}
	}
	out := texts[0]
	for i, d := range numbers {
		out += d + texts[i+1]
	}
	return out
}

// stem is the beginning that all names share, up to and with a separator.
// Names that exporters number count only where there are no others.
func stem(names []string) string {
	if good := slices.DeleteFunc(slices.Clone(names), numbered); len(good) > 0 {
		names = good
	}
	if len(names) == 0 {
		return ""
	}
	s := names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, s) {
			s = s[:len(s)-1]
		}
	}
	return s[:strings.LastIndexAny(s, "./")+1]
}

// numbered says whether an exporter made the name up.
func numbered(name string) bool { return strings.Contains(name, "::") }

// moduleName is the module that the name of an operator stands for, as exporters
// write it: "/layer1/layer1.0/conv1/Conv" is layer1.0.conv1.
func moduleName(n *onnxgraph.Node) string {
	var parts []string
	for _, p := range strings.Split(strings.Trim(n.Name, "/"), "/") {
		if last := len(parts) - 1; last >= 0 && strings.HasPrefix(p, parts[last]+".") {
			parts = parts[:last]
		}
		parts = append(parts, p)
	}
	if last := len(parts) - 1; last > 0 && strings.HasPrefix(parts[last], n.OpType) {
		parts = parts[:last]
	}
	return strings.Join(parts, ".")
}

// named is the name itself or, where an exporter made it up, that of the module
// that reads the parameter.
func (v *View) named(title, parameter string) string {
	if n := v.reader[parameter]; numbered(title) && n != nil && n.Name != "" {
		return moduleName(n)
	}
	return title
}

// copies lists the names of one thing in all copies of a repeat.
func copies(name func(i int) string, at, period, n int) []string {
	out := make([]string, n)
	for c := range n {
		out[c] = name(at + c*period)
	}
	return out
}
