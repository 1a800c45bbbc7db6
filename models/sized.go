package models

import (
	"fmt"
	"strconv"
	"strings"
)

// IsSized says whether a name asks for a network of a size of its own:
// "gpt2:LAYERS,WIDTH,HEADS" or "llama:…".
func IsSized(name string) bool {
	family, _, found := strings.Cut(name, ":")
	return found && (family == GPT2 || family == Llama)
}

// sizes are the settings behind LAYERS,WIDTH,HEADS, by name.
func sizes(t *Transformer) map[string]*int {
	return map[string]*int{"kv-heads": &t.KVHeads, "hidden": &t.Hidden, "vocab": &t.Vocab, "positions": &t.Positions}
}

// sized is the language task of a name that IsSized. Without vocab=N the network
// has as many tokens as the data (Task.WithVocabulary).
func sized(name string) (Task, error) {
	family, list, _ := strings.Cut(name, ":")
	fail := func(format string, args ...any) (Task, error) {
		return Task{}, fmt.Errorf("network %q: %s; expected %s:LAYERS,WIDTH,HEADS, and possibly vocab=N, positions=N (default %d), hidden=N, untied%s",
			name, fmt.Sprintf(format, args...), family, defaultPositions, map[string]string{Llama: ", kv-heads=N"}[family])
	}
	t := Transformer{Family: family, Positions: defaultPositions}
	first := []*int{&t.Layers, &t.Width, &t.Heads}
	for i, part := range strings.Split(list, ",") {
		key, value, named := strings.Cut(part, "=")
		to, known := sizes(&t)[key]
		switch {
		case i < len(first):
			to, value = first[i], part
		case part == "untied":
			t.Untied = true
			continue
		case !named || !known:
			return fail("%q is none of its settings", part)
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 1<<24 {
			return fail("%q is no size", part)
		}
		*to = n
	}
	if t.Heads == 0 {
		return fail("sizes are missing")
	}
	t.Name = fmt.Sprintf("%s-%d-%d-%d", family, t.Layers, t.Width, t.Heads)
	check := t
	if check.Vocab == 0 {
		check.Vocab = 1
	}
	if _, err := check.fill(); err != nil {
		return Task{}, err
	}
	task := languageTask(t.Name, fmt.Sprintf("%s of %d layers, width %d", family, t.Layers, t.Width), "any text", t)
	task.onOne()
	task.Length = min(task.Length, t.Positions)
	return task, nil
}

const defaultPositions = 1024

// WithVocabulary is the task with a network of so many tokens, where the network
// takes them from the data.
func (t Task) WithVocabulary(n int) (Task, error) {
	network, ok := t.Network.(Transformer)
	if !ok || network.Vocab > 0 {
		return t, nil
	}
	if n < 1 {
		return t, fmt.Errorf("task %s: the data does not say how many different tokens it has; name them: …,vocab=N", t.Name)
	}
	network.Vocab = n
	t.Network = network
	return t, nil
}
