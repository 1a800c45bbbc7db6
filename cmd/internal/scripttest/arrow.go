package scripttest

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// arrowRows is the command of that name: it writes samples like those of the
// fixture train.npz to its standard output, as an Arrow IPC stream.
func arrowRows() {
	rows := flag.Int("rows", 8, "rows of a record batch")
	batches := flag.Int("batches", 10, "record batches; 0 writes for ever")
	seed := flag.Uint64("seed", 1, "of the samples")
	cut := flag.Bool("cut", false, "end without the end mark, as a process that dies")
	hang := flag.Bool("hang", false, "then write nothing more, and do not end")
	wide := flag.Bool("wide", false, "one feature more than the model takes")
	flag.Parse()
	if err := writeRows(*rows, *batches, *seed, *cut || *hang, *wide); err != nil {
		fmt.Fprintln(os.Stderr, "arrowrows:", err)
		os.Exit(1)
	}
	if *hang {
		time.Sleep(time.Hour) // the script ends it
	}
}

func writeRows(rows, batches int, seed uint64, cut, wide bool) error {
	width := int32(features)
	if wide {
		width++
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.FixedSizeListOf(width, arrow.PrimitiveTypes.Float32)},
		{Name: "labels", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	w := ipc.NewWriter(os.Stdout, ipc.WithSchema(schema))
	rng := rand.New(rand.NewPCG(seed, 0))
	for n := 0; n < batches || batches == 0; n++ {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		x, y := b.Field(0).(*array.FixedSizeListBuilder), b.Field(1).(*array.Int64Builder)
		for range rows {
			class, most := 0, float32(math.Inf(-1))
			x.Append(true)
			for i := range int(width) {
				v := float32(rng.NormFloat64())
				if i < classes && v > most {
					class, most = i, v
				}
				x.ValueBuilder().(*array.Float32Builder).Append(v)
			}
			y.Append(int64(class))
		}
		if err := w.Write(b.NewRecordBatch()); err != nil {
			return err
		}
	}
	if cut {
		return nil
	}
	return w.Close()
}
