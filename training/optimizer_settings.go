package training

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// setting is one field of an Optimizer as artifacts keep it: "key=value".
type setting struct {
	key  string
	text func(o *Optimizer) string // "" for the zero value, which is left out
	set  func(o *Optimizer, text string) error
}

var settings = []setting{
	words("kind", func(o *Optimizer) *string { return &o.Kind }),
	words("convention", func(o *Optimizer) *string { return &o.Convention }),
	number("beta1", func(o *Optimizer) *float64 { return &o.Beta1 }),
	number("beta2", func(o *Optimizer) *float64 { return &o.Beta2 }),
	number("epsilon", func(o *Optimizer) *float64 { return &o.Epsilon }),
	{"bias_correction", func(o *Optimizer) string {
		if o.NoBiasCorrection {
			return "false"
		}
		return ""
	}, func(o *Optimizer, text string) error {
		on, err := strconv.ParseBool(text)
		o.NoBiasCorrection = !on
		return err
	}},
	number("momentum", func(o *Optimizer) *float64 { return &o.Momentum }),
	number("dampening", func(o *Optimizer) *float64 { return &o.Dampening }),
	toggle("nesterov", func(o *Optimizer) *bool { return &o.Nesterov }),
	toggle("plain_momentum", func(o *Optimizer) *bool { return &o.NoNesterov }),
	words("adjust", func(o *Optimizer) *string { return &o.Adjust }),
	number("adamw_rate", func(o *Optimizer) *float64 { return &o.AdamWRate }),
	{"warmup", func(o *Optimizer) string {
		if o.Warmup == 0 {
			return ""
		}
		return strconv.Itoa(o.Warmup)
	}, func(o *Optimizer, text string) (err error) {
		o.Warmup, err = strconv.Atoi(text)
		return err
	}},
	toggle("skip_non_finite", func(o *Optimizer) *bool { return &o.SkipNonFinite }),
	number("weight_decay", func(o *Optimizer) *float64 { return &o.WeightDecay }),
	number("clip_norm", func(o *Optimizer) *float64 { return &o.ClipNorm }),
}

func words(key string, at func(*Optimizer) *string) setting {
	return setting{key, func(o *Optimizer) string { return *at(o) }, func(o *Optimizer, text string) error {
		*at(o) = text
		return nil
	}}
}

func number(key string, at func(*Optimizer) *float64) setting {
	return setting{key, func(o *Optimizer) string {
		if *at(o) == 0 {
			return ""
		}
		return strconv.FormatFloat(*at(o), 'g', -1, 64)
	}, func(o *Optimizer, text string) (err error) {
		*at(o), err = strconv.ParseFloat(text, 64)
		return err
	}}
}

func toggle(key string, at func(*Optimizer) *bool) setting {
	return setting{key, func(o *Optimizer) string {
		if !*at(o) {
			return ""
		}
		return "true"
	}, func(o *Optimizer, text string) (err error) {
		*at(o), err = strconv.ParseBool(text)
		return err
	}}
}

// String writes the configuration as "key=value" pairs, the form in which
// artifacts keep it; parseOptimizer reads it.
func (o Optimizer) String() string {
	var parts []string
	for _, s := range settings {
		if text := s.text(&o); text != "" {
			parts = append(parts, s.key+"="+text)
		}
	}
	return strings.Join(parts, " ")
}

func parseOptimizer(text string) (Optimizer, error) {
	var o Optimizer
	for _, part := range strings.Fields(text) {
		key, value, _ := strings.Cut(part, "=")
		err := errors.New("unknown key")
		for _, s := range settings {
			if s.key == key {
				err = s.set(&o, value)
			}
		}
		if err != nil {
			return o, fmt.Errorf("optimizer %q: %q: %w", text, part, err)
		}
	}
	return o, o.Validate()
}
