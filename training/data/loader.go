package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"ninox/onnxgraph"
)

// Order says which samples make up which batch. It has no state: batch i is
// the same whatever was asked for before, which is what makes a run resumable.
type Order struct {
	Samples int    // size of the data set
	Batch   int    // samples per batch; the remainder of an epoch is dropped
	Shuffle bool   // a new permutation every epoch
	Seed    uint64 // of the permutations
}

// PerEpoch is the number of whole batches in the data set.
func (o Order) PerEpoch() int64 { return int64(o.Samples / o.Batch) }

// Epoch is the sequence of samples of one epoch, counted from 0.
func (o Order) Epoch(epoch int64) []int {
	if o.Shuffle {
		return rand.New(rand.NewPCG(o.Seed, uint64(epoch))).Perm(o.Samples)
	}
	p := make([]int, o.Samples)
	for i := range p {
		p[i] = i
	}
	return p
}

// LoaderOptions configure a Loader.
type LoaderOptions struct {
	Batch   int    // samples per batch; required
	Shuffle bool   // a new permutation every epoch
	Seed    uint64 // of the permutations
	Start   int64  // number of the first batch, counted from 0 over all epochs
	Depth   int    // batches prepared ahead; default 2
	Hold    int    // batches that stay valid at a time, the latest ones; default 1
	Digest  string // of a Stream: that of the batch before Start, as a run to be resumed had it; empty: not checked
}

// Batch is one prepared batch. It belongs to the loader and is valid until Next
// has been called LoaderOptions.Hold more times; the loader reuses a fixed number
// of Batch values, so callers may keep per-Batch state such as runtime values
// that alias Buffers.
type Batch struct {
	Index   int64 // counted from 0 over all epochs
	Columns []Column
	Buffers []Buffer // by column
	Digest  string   // of a Stream: checksum of all its samples up to this batch
}

// Loader prepares batches in the background: epoch after epoch without end, or
// those of a Stream up to its end.
type Loader struct {
	order Order
	ready chan *Batch
	free  chan *Batch
	held  []*Batch // oldest first, at most hold
	hold  int
	stop  context.CancelFunc
	done  sync.WaitGroup
	err   error // set before ready is closed
}

// NewLoader starts to prepare the batches of d.
func NewLoader(d Dataset, o LoaderOptions) (*Loader, error) {
	if o.Batch <= 0 {
		return nil, fmt.Errorf("data %s: batches of %d samples", d.Name(), o.Batch)
	}
	if !IsOnce(d) && d.Len() < o.Batch {
		return nil, fmt.Errorf("data %s: %d samples do not fill a batch of %d", d.Name(), d.Len(), o.Batch)
	}
	if o.Depth <= 0 {
		o.Depth = 2
	}
	if o.Hold <= 0 {
		o.Hold = 1
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Loader{
		order: Order{Samples: d.Len(), Batch: o.Batch, Shuffle: o.Shuffle, Seed: o.Seed},
		ready: make(chan *Batch, o.Depth),
		free:  make(chan *Batch, o.Depth+o.Hold),
		hold:  o.Hold,
		stop:  stop,
	}
	for range o.Depth + o.Hold {
		l.free <- NewBatch(d.Columns(), o.Batch)
	}
	fill := l.choice(d)
	if s := streamOf(d); s != nil {
		fill = l.sequence(d, s, o)
	}
	l.done.Add(1)
	go l.fill(ctx, o.Start, fill)
	return l, nil
}

// NewBatch allocates buffers for n samples.
func NewBatch(cols []Column, n int) *Batch {
	b := &Batch{Columns: cols, Buffers: make([]Buffer, len(cols))}
	for i, c := range cols {
		if c.DType == onnxgraph.Int64 {
			b.Buffers[i].Int64s = make([]int64, n*c.Elements())
		} else {
			b.Buffers[i].Floats = make([]float32, n*c.Elements())
		}
	}
	return b
}

// fill prepares batches from number next on until there are no more.
func (l *Loader) fill(ctx context.Context, next int64, fill func(context.Context, *Batch) error) {
	defer l.done.Done()
	defer close(l.ready)
	for ; ; next++ {
		var b *Batch
		select {
		case b = <-l.free:
		case <-ctx.Done():
			return
		}
		b.Index = next
		if err := fill(ctx, b); err != nil {
			l.err = err
			return
		}
		select {
		case l.ready <- b:
		case <-ctx.Done():
			return
		}
	}
}

// choice fills batches with the samples that the order chooses.
func (l *Loader) choice(d Dataset) func(context.Context, *Batch) error {
	epoch, samples := int64(-1), []int(nil)
	return func(_ context.Context, b *Batch) error {
		per := l.order.PerEpoch()
		if e := b.Index / per; e != epoch {
			epoch, samples = e, l.order.Epoch(e)
		}
		at := int(b.Index%per) * l.order.Batch
		return d.Batch(samples[at:at+l.order.Batch], b.Buffers)
	}
}

// sequence fills batches with the samples of a stream, one after another.
func (l *Loader) sequence(d Dataset, s *Stream, o LoaderOptions) func(context.Context, *Batch) error {
	begun := false
	return func(ctx context.Context, b *Batch) error {
		if !begun {
			begun = true
			if err := s.skip(ctx, o.Start*int64(o.Batch), o.Digest); err != nil {
				return err
			}
		}
		into := b.Buffers
		if bound, ok := d.(*bound); ok {
			into = bound.spread(into)
		}
		err := s.next(ctx, o.Batch, into)
		if err == io.EOF { // itself: an image that breaks off is a fault
			return ErrEnd
		}
		if err != nil {
			return err
		}
		b.Digest = s.digest()
		return nil
	}
}

// Order is the order in which the loader goes through the samples.
func (l *Loader) Order() Order { return l.order }

// ErrEnd says that a Stream has no further batch.
var ErrEnd = errors.New("the data has ended")

// Next waits for the next batch; ErrEnd where a Stream has no more.
func (l *Loader) Next(ctx context.Context) (*Batch, error) {
	if len(l.held) == l.hold {
		l.free <- l.held[0]
		l.held = l.held[1:]
	}
	select {
	case b, ok := <-l.ready:
		if !ok {
			if err := cmp.Or(ctx.Err(), l.err); err != nil {
				return nil, err
			}
			return nil, errors.New("data: the loader is closed")
		}
		l.held = append(l.held, b)
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close stops the background work and waits for its end.
func (l *Loader) Close() {
	l.stop()
	l.done.Wait()
}
