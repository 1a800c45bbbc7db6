package root

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
)

func TestGlobalFlags(t *testing.T) {
	tests := map[string]struct {
		value string
		get   func(a *app.App) any
		want  any
	}{
		"json":      {"true", func(a *app.App) any { return a.JSON }, true},
		"quiet":     {"true", func(a *app.App) any { return a.Quiet }, true},
		"log-level": {"debug", func(a *app.App) any { return a.LogLevel }, "debug"},
		"device":    {"cuda:1", func(a *app.App) any { return a.Device }, "cuda:1"},
		"threads":   {"3", func(a *app.App) any { return a.Threads }, 3},
		"seed":      {"9", func(a *app.App) any { return a.Seed }, uint64(9)},
	}
	New(&app.App{}).PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		a := &app.App{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}
		if code := Main(a, []string{"version", "--" + name + "=" + k.value}); code != 0 || !reflect.DeepEqual(k.get(a), k.want) {
			t.Errorf("--%s: exit code %d, got %v, expected %v", name, code, k.get(a), k.want)
		}
	}
}

// Every command says what it does, and every one that works shows an example or
// takes nothing.
func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		switch c.Name() {
		case "help", "completion", "version", "info": // nothing to show, or explained by cobra
			return
		}
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
		if len(c.Commands()) == 0 && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "ninox ") && !strings.HasPrefix(line+" ", c.CommandPath()+" ") && c.HasParent() {
				t.Errorf("%s has an example of something else: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(New(&app.App{}))
}
