package training

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// eventsFile is the file that TensorBoard shows, which finds it by "tfevents" in
// its name. It says in TensorBoard's form what metrics.jsonl says of steps and
// evaluations; a resumed run writes it anew from there.
const eventsFile = "events.out.tfevents.ninox"

// Tags of the scalars in TensorBoard.
const (
	tagLoss     = "train/loss"
	tagRate     = "train/learning_rate"
	tagTestLoss = "test/loss"
	tagAccuracy = "test/accuracy" // percent
	tagNowcast  = "nowcast/horizon"
)

// Fields of the messages Event, Summary and Summary.Value of TensorFlow's
// event.proto and summary.proto.
const (
	eventTime, eventStep, eventVersion, eventSummary = 1, 2, 3, 5
	summaryValue                                     = 1
	valueTag, valueScalar                            = 1, 2
)

// eventsWriter writes metrics as TensorBoard events.
type eventsWriter struct {
	f       *os.File
	w       *bufio.Writer
	started time.Time // when training began, as if it had never been interrupted
	buf     []byte
}

// header is the event that a file begins with.
func (e *eventsWriter) header() error {
	b := protowire.AppendTag(nil, eventVersion, protowire.BytesType)
	return e.event(0, protowire.AppendString(b, "brain.Event:2"))
}

// add writes the scalars of a metric.
func (e *eventsWriter) add(m Metric) error {
	var summary []byte
	scalar := func(tag string, v float64) {
		value := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), tag)
		value = protowire.AppendFixed32(protowire.AppendTag(value, valueScalar, protowire.Fixed32Type), math.Float32bits(float32(v)))
		summary = protowire.AppendBytes(protowire.AppendTag(summary, summaryValue, protowire.BytesType), value)
	}
	if m.Loss != nil {
		scalar(tagLoss, *m.Loss)
	}
	if m.LR != 0 {
		scalar(tagRate, m.LR)
	}
	if m.EvalLoss != nil {
		scalar(tagTestLoss, *m.EvalLoss)
	}
	if m.EvalAccuracy != nil {
		scalar(tagAccuracy, *m.EvalAccuracy)
	}
	if m.Nowcast != nil && m.Nowcast.Accepted {
		scalar(tagNowcast, float64(m.Nowcast.K))
	}
	if summary == nil {
		return nil
	}
	b := protowire.AppendVarint(protowire.AppendTag(nil, eventStep, protowire.VarintType), uint64(m.Step))
	return e.event(m.Seconds, protowire.AppendBytes(protowire.AppendTag(b, eventSummary, protowire.BytesType), summary))
}

// event writes an event, given all but its time, as a record of the TFRecord
// format: length, checksum of the length, event, checksum of the event.
func (e *eventsWriter) event(seconds float64, rest []byte) error {
	at := float64(e.started.UnixNano())/1e9 + seconds
	b := protowire.AppendFixed64(protowire.AppendTag(nil, eventTime, protowire.Fixed64Type), math.Float64bits(at))
	b = append(b, rest...)
	out := binary.LittleEndian.AppendUint64(e.buf[:0], uint64(len(b)))
	out = binary.LittleEndian.AppendUint32(out, maskedCRC(out))
	out = append(out, b...)
	e.buf = binary.LittleEndian.AppendUint32(out, maskedCRC(b))
	_, err := e.w.Write(e.buf)
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is the CRC-32C, rotated and shifted by a constant, so that checksums
// of data that holds checksums stay good.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// openEvents writes the file of the metrics of so many seconds of training and
// leaves it open for more. Of events that a kill cuts short, readers take the
// whole ones.
func openEvents(path string, metrics []Metric, seconds float64) (*eventsWriter, error) {
	e := &eventsWriter{started: time.Now().Add(-time.Duration(seconds * float64(time.Second)))}
	err := writeAtomic(path, func(w io.Writer) error {
		e.w = bufio.NewWriter(w)
		errs := []error{e.header()}
		for _, m := range metrics {
			errs = append(errs, e.add(m))
		}
		return errors.Join(append(errs, e.w.Flush())...)
	})
	if err != nil {
		return nil, err
	}
	if e.f, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return nil, err
	}
	e.w.Reset(e.f)
	return e, nil
}

func (e *eventsWriter) close() error { return errors.Join(e.w.Flush(), e.f.Close()) }
