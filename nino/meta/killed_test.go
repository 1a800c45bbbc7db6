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
	"strings"
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
	workerStore = "NINOX_TEST_COLLECT_STORE" // folder or URL
	workerCache = "NINOX_TEST_COLLECT_CACHE" // where runs of a bucket are made
	workerShard = "NINOX_TEST_COLLECT_SHARD"
)

// TestCollectWorker is no test but the process that TestCollectSurvivesKill
// kills.
func TestCollectWorker(t *testing.T) {
	place := os.Getenv(workerStore)
	if place == "" {
		t.Skip("runs as a worker of another test only")
	}
	shard, err := strconv.Atoi(os.Getenv(workerShard))
	if err != nil {
		t.Fatal(err)
	}
	var s *Store
	if IsURL(place) {
		s, err = OpenBucket(t.Context(), place, os.Getenv(workerCache))
	} else {
		s, err = OpenStore(place)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := Collect(context.Background(), runtimetest.Engine(t), plan(t, killedPlan), s, CollectOptions{Workers: 1, Shard: shard, Shards: 2}); err != nil {
		t.Fatal(err)
	}
}

func TestCollectSurvivesKill(t *testing.T) {
	s := store(t)
	surviveKills(t, s.Dir(), func() map[string][]byte { return files(t, s) })
}

func TestBucketSurvivesKill(t *testing.T) {
	bucketSurvivesKill(t, "file://"+t.TempDir())
}

func bucketSurvivesKill(t *testing.T, url string) {
	surviveKills(t, url, func() map[string][]byte {
		s, err := OpenBucket(t.Context(), url, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		return files(t, s)
	})
}

// surviveKills collects to a place with two workers that are killed (SIGKILL) at
// random moments, 20 times in all: what the store holds is whole each time, and in
// the end it is the same, byte for byte, as that of a collection in peace.
func surviveKills(t *testing.T, place string, held func() map[string][]byte) {
	engine := runtimetest.Engine(t)
	p, peaceful, cache := plan(t, killedPlan), store(t), t.TempDir()
	if err := Collect(context.Background(), engine, p, peaceful, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	want := files(t, peaceful)
	start := func(shard int) *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run=^TestCollectWorker$")
		c.Env = append(os.Environ(), workerStore+"="+place, workerCache+"="+cache, workerShard+"="+fmt.Sprint(shard))
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
		for name, got := range held() {
			if strings.HasSuffix(name, trajectorySuffix) && !bytes.Equal(got, want[name]) {
				t.Fatalf("after %d kills %s is not whole", killed, name)
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
	got := held()
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
