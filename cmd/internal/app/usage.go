package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// Faults collects what is wrong with an invocation, so that all of it can be
// said at once.
type Faults []error

// Addf adds one fault.
func (f *Faults) Addf(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

// OneOf adds a fault where value is none of the allowed ones; "" is always
// allowed.
func (f *Faults) OneOf(flag, value string, allowed []string) {
	for _, a := range append([]string{""}, allowed...) {
		if value == a {
			return
		}
	}
	f.Addf("--%s %q: expected one of %s", flag, value, strings.Join(allowed, ", "))
}

// Err is a UsageError that lists the faults and names the command whose help
// has more, nil where there are none.
func (f Faults) Err(c *cobra.Command) error {
	if len(f) == 0 {
		return nil
	}
	return Usagef("%w\nsee '%s --help'", errors.Join(f...), c.CommandPath())
}

var devicePattern = regexp.MustCompile(`^(cpu|cuda(:\d+)?)$`)

// Check reports every global flag that makes no sense.
func (a *App) Check(c *cobra.Command) error {
	var f Faults
	if !devicePattern.MatchString(a.Device) {
		f.Addf("--device %q: expected cpu, cuda or cuda:N", a.Device)
	}
	if a.Threads < 0 {
		f.Addf("--threads %d: expected at least 0", a.Threads)
	}
	if _, err := a.Logger(); err != nil {
		f = append(f, err)
	}
	return f.Err(c)
}

// WriteJSON prints v as the machine-readable output of a command.
func (a *App) WriteJSON(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Choices makes the shell complete a flag with the given values.
func Choices(c *cobra.Command, flag string, values []string) {
	// The error is about unknown flags, which the tests of the command find.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
