package view

// look is the colours of a kind of node or edge.
type look struct {
	name string // in the legend
	fill string // of nodes
	line string // of edges, and the border of nodes
}

// looks of kinds. Edges are named after the types of the NiNo graph's edges.
var looks = map[string]look{
	"layer":  {"neurons", "#eef2f7", "#51617a"},
	"opaque": {"opaque", "#fdecea", "#b3261e"},

	"linear":      {"linear", "#e3edfb", "#2563a8"},
	"convolution": {"convolution", "", "#1b7f4b"},
	"embedding":   {"embedding", "", "#8a4fb0"},
	"position":    {"position", "", "#b0663c"},
	"query":       {"query", "", "#c0392b"},
	"key":         {"key", "", "#c77d0a"},
	"value":       {"value", "", "#0f8a8a"},
	"residual":    {"residual", "", "#8b95a5"},
	"head":        {"head", "", "#c06fa6"},
	"norm":        {"norm", "#fff3dc", "#a36a00"},
	"bias":        {"bias", "", "#6b7280"},

	"self-loop": {"self-loop", "", "#9aa3af"},

	"flow":       {"value", "", "#8b95a5"},
	"input":      {"input", "#e8f5ec", "#3f7d58"},
	"output":     {"output", "#e8f5ec", "#3f7d58"},
	"conv":       {"convolution", "#dff3e6", "#1b7f4b"},
	"activation": {"activation", "#fde8e4", "#b8503c"},
	"pool":       {"reduction", "#e4f4f4", "#0f8a8a"},
	"shape":      {"shape", "#f1ecf8", "#7a5aa6"},
	"control":    {"control flow", "#fdf6cf", "#8a7400"},
	"other":      {"other", "#f1f3f5", "#64707f"},
}

func lookOf(kind string) look {
	if l, ok := looks[kind]; ok {
		return l
	}
	return look{kind, "#f1f3f5", "#64707f"}
}
