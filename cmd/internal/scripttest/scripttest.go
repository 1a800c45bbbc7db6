package scripttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
)

// Main makes the test binary answer to the commands of scripts; it is to be
// called from TestMain.
func Main(m *testing.M, ninox func()) {
	testscript.Main(m, map[string]func(){"ninox": ninox, "exits": exits, "arrowrows": arrowRows})
}

// Run runs the scripts of a folder.
func Run(t *testing.T, dir string) {
	fixtures := t.TempDir()
	if err := Fixtures(fixtures); err != nil {
		t.Fatal(err)
	}
	library := sync.OnceValues(func() (string, error) {
		info, err := ort.Info(context.Background())
		return info.Path, err
	})
	shared := findShared()
	testscript.Run(t, testscript.Params{
		Dir:                dir,
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("FIXTURES", fixtures)
			e.Setenv("SHARED", shared)
			e.Setenv("GOOS", goruntime.GOOS)
			e.Setenv("GOARCH", goruntime.GOARCH)
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".cache"))
			if path, err := library(); err == nil {
				e.Setenv("NINOX_ORT_LIB", path)
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "ort":
				return available("ort", library)
			case "shared":
				return available("shared", func() (string, error) {
					if shared == "" {
						return "", fmt.Errorf("no folder shared in or beside the repository")
					}
					return shared, nil
				})
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitFor, "jsonpath": jsonPath, "onnx": checkONNX,
		},
	})
}

// available says whether something outside the repository is there, and fails
// where NINOX_REQUIRE demands it.
func available(what string, find func() (string, error)) (bool, error) {
	_, err := find()
	if err != nil && testenv.Required(what) {
		return false, fmt.Errorf("NINOX_REQUIRE lists %s: %w", what, err)
	}
	return err == nil, nil
}

// findShared looks for the folder of shared fixtures in all parents.
func findShared() string {
	dir, err := os.Getwd()
	for err == nil {
		p := filepath.Join(dir, "shared")
		if _, err := os.Stat(filepath.Join(p, "fixtures")); err == nil {
			return p
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return ""
}

// exits is the command of that name: it runs a command and checks its exit code.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "exits:", err)
		os.Exit(1)
	}
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "exits:", err)
		os.Exit(1)
	}
	go func() {
		for s := range interrupts {
			if err := cmd.Process.Signal(s); err != nil {
				fmt.Fprintln(os.Stderr, "exits:", err)
			}
		}
	}()
	err = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != want {
		fmt.Fprintf(os.Stderr, "exits: code %d (%v), expected %d\n", got, err, want)
		os.Exit(1)
	}
}

// patience is how long waitfor waits.
const patience = 60 * time.Second

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s did not appear", args[0])
}

func jsonPath(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] jsonpath FILE PATH WANT")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, key := range strings.Split(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(at) {
				ts.Fatalf("%s: no element %q of %d", args[1], key, len(at))
			}
			v = at[i]
		default:
			ts.Fatalf("%s: %q looks into %v", args[1], key, v)
		}
	}
	got, err := json.Marshal(v)
	ts.Check(err)
	if s, ok := v.(string); ok {
		got = []byte(s)
	}
	if (string(got) == args[2]) == neg {
		ts.Fatalf("%s %s is %s", args[0], args[1], got)
	}
}

func checkONNX(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: onnx FILE")
	}
	m, err := onnxgraph.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(rewrite.Check(m, nil))
}
