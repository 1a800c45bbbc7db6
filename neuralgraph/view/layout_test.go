package view

import (
	"testing"
)

// overlap reports blocks of one box that cover each other or stick out of it.
func overlap(t *testing.T, what string, b *block) {
	t.Helper()
	for i, c := range b.children {
		if c.x < b.x-0.01 || c.y < b.y-0.01 || c.x+c.w > b.x+b.w+0.01 || c.y+c.h > b.y+b.h+0.01 {
			t.Errorf("%s: block %d sticks out of its box", what, c.node)
		}
		for _, d := range b.children[:i] {
			if c.x < d.x+d.w && d.x < c.x+c.w && c.y < d.y+d.h && d.y < c.y+c.h {
				t.Errorf("%s: blocks %d and %d overlap", what, d.node, c.node)
			}
		}
		overlap(t, what, c)
	}
}

// cross counts lines that run through a node.
func cross(b *block) int {
	n := 0
	for _, l := range b.lines {
		for _, v := range l.bends {
			for _, c := range b.children {
				x, y := b.x+v.x, b.y+v.y
				if x > c.x && x < c.x+c.w && y+v.h > c.y && y < c.y+c.h {
					n++
				}
			}
		}
	}
	for _, c := range b.children {
		n += cross(c)
	}
	return n
}

func TestLayout(t *testing.T) {
	v := residual(t, 5, nil)
	for _, o := range []Options{{}, {Expand: true}, {Operators: true}, {Operators: true, Expand: true}} {
		d := v.drawing(o)
		overlap(t, "residual", d.root)
		if n := cross(d.root); n > 0 {
			t.Errorf("%+v: %d lines run through nodes", o, n)
		}
		var down func(b *block)
		down = func(b *block) {
			for _, l := range b.lines {
				if !l.cut && l.start().y >= l.end().y && l.start().role == roleChild && l.end().role == roleChild {
					t.Errorf("%+v: a line leads up", o)
				}
			}
			for _, c := range b.children {
				down(c)
			}
		}
		down(d.root)
	}
}

// TestStraight: a chain stands on one vertical line.
func TestStraight(t *testing.T) {
	d := residual(t, 2, nil).drawing(Options{Operators: true, Expand: true})
	middle := map[string]float64{}
	for _, c := range d.root.children {
		if c.box == nil {
			middle[d.s.nodes[c.node].path()] = c.x + c.w/2
		}
	}
	if a, b := middle["head"], middle["shift"]; a != b || a == 0 {
		t.Errorf("head at %g, the sum before it at %g", a, b)
	}
}

// TestCarried: the copy that stands for all has no line back to its own
// beginning.
func TestCarried(t *testing.T) {
	d := residual(t, 6, nil).drawing(Options{})
	boxes := 0
	for _, c := range d.root.children {
		if c.box == nil {
			continue
		}
		boxes++
		if c.box.copies < 5 || c.copy != -1 {
			t.Errorf("box %q: copy %d", c.box.title, c.copy)
		}
		for _, l := range c.lines {
			if l.from.seq > l.to.seq {
				t.Errorf("a line leads back")
			}
		}
	}
	if boxes != 1 {
		t.Errorf("%d boxes", boxes)
	}
}
