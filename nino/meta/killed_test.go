package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"ninox/runtime/runtimetest"
)

// killedPlan has more runs than two workers make before they are killed.
const killedPlan = `{"schema": "ninox.meta.plan/1", "seed": 3, "sets": [
	{"name": "runs", "count": 12, "data": ["embedded"], "samples": [200], "kernel": [3], "hidden": [[4, 4]], "strides": [[2, 2]],
	 "optimizer": ["adam"], "lr": [0.003], "batch": [16], "steps": 200, "every": 2}]}`

// What a worker process of TestCollectSurvivesKill finds in its environment.
const (
	workerStore = "NINOX_TEST_COLLECT_STORE"
	workerShard = "NINOX_TEST_COLLECT_SHARD"
)

// TestCollectWorker is no test but the process that TestCollectSurvivesKill
// kills.
func TestCollectWorker(t *testing.T) {
	dir := os.Getenv(workerStore)
	if dir == "" {
		t.Skip("runs as a worker of another test only")
	}
	shard, err := strconv.Atoi(os.Getenv(workerShard))
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := Collect(context.Background(), runtimetest.Engine(t), plan(t, killedPlan), s, CollectOptions{Workers: 1, Shard: shard, Shards: 2}); err != nil {
		t.Fatal(err)
	}
}

// Two workers are killed (SIGKILL) at random moments, 20 times in all: what the
// store holds is whole each time, and in the end it is the same, byte for byte,
// as that of a collection in peace.
func TestCollectSurvivesKill(t *testing.T) {
	engine := runtimetest.Engine(t)
	p, peaceful, s := plan(t, killedPlan), store(t), store(t)
	if err := Collect(context.Background(), engine, p, peaceful, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	want := files(t, peaceful)
	start := func(shard int) *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run=^TestCollectWorker$")
		c.Env = append(os.Environ(), workerStore+"="+s.Dir(), workerShard+"="+fmt.Sprint(shard))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	const kills = 20
	rng := rand.New(rand.NewPCG(1, 2))
	killed := 0
	for range kills / 2 {
		workers := []*exec.Cmd{start(0), start(1)}
		for _, c := range workers {
			time.Sleep(time.Duration(100+rng.IntN(500)) * time.Millisecond)
			c.Process.Kill()
			var exit *exec.ExitError
			if err := c.Wait(); errors.As(err, &exit) && exit.ExitCode() == -1 {
				killed++
			}
		}
		ids, err := s.IDs()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			got, err := os.ReadFile(s.path(id, trajectorySuffix))
			if err != nil || !bytes.Equal(got, want[id+trajectorySuffix]) {
				t.Fatalf("after %d kills run %s is not whole (%v)", killed, id, err)
			}
		}
	}
	if killed == 0 {
		t.Error("every worker ended before it was killed")
	}
	for shard := range 2 {
		if err := start(shard).Wait(); err != nil {
			t.Fatalf("shard %d: %v", shard, err)
		}
	}
	got := files(t, s)
	if len(got) != len(want) {
		t.Errorf("%d files, expected %d", len(got), len(want))
	}
	for name, content := range want {
		if !bytes.Equal(content, got[name]) {
			t.Errorf("%s differs from that of a collection in peace", name)
		}
	}
	t.Logf("%d workers killed", killed)
}
