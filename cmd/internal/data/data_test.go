package data

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
)

// ninox runs `ninox data` with arguments and returns what it prints.
func ninox(a *app.App, args ...string) (string, error) {
	var out bytes.Buffer
	a.Out, a.Err = &out, &bytes.Buffer{}
	cmd := NewCommand(a)
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

// writeMNIST writes a data set of two training images and one test image.
func writeMNIST(t *testing.T, dir string) {
	t.Helper()
	images := func(n byte) []byte {
		return append([]byte{0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 1, 0, 0, 0, 2}, make([]byte, 2*int(n))...)
	}
	labels := func(n byte) []byte { return append([]byte{0, 0, 8, 1, 0, 0, 0, n}, make([]byte, int(n))...) }
	for name, content := range map[string][]byte{
		"train-images-idx3-ubyte": images(2), "train-labels-idx1-ubyte": labels(2),
		"t10k-images-idx3-ubyte": images(1), "t10k-labels-idx1-ubyte": labels(1),
		"unrelated.txt": []byte("stays behind"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFetch(t *testing.T) {
	home, from := t.TempDir(), t.TempDir()
	t.Setenv("NINOX_DATA", home)
	writeMNIST(t, from)
	place := filepath.Join(home, "mnist")

	out, err := ninox(&app.App{}, "fetch", "mnist", "--from", from)
	if err != nil || out != "mnist: 2 + 1 samples in "+place+"\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if files, _ := os.ReadDir(place); len(files) != 4 {
		t.Errorf("%d files in place, expected the four of the data set", len(files))
	}
	if out, err := ninox(&app.App{}, "fetch", "mnist"); err != nil || out != "mnist: found in "+place+"\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := ninox(&app.App{}, "fetch", "mnist", "--from", from); err == nil || !strings.Contains(err.Error(), "exists already; --overwrite") {
		t.Errorf("error %v, expected the data in place to be kept", err)
	}
	if _, err := ninox(&app.App{}, "fetch", "mnist", "--from", place, "--overwrite"); err == nil || !strings.Contains(err.Error(), "in place already") {
		t.Errorf("error %v, expected data not to be replaced by itself", err)
	}
	if _, err := ninox(&app.App{}, "fetch", "mnist", "--from", from, "--overwrite", "--link"); err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(filepath.Join(place, "t10k-labels-idx1-ubyte"))
	if err != nil || link != filepath.Join(from, "t10k-labels-idx1-ubyte") {
		t.Errorf("link to %q, %v", link, err)
	}
	if rest, _ := filepath.Glob(filepath.Join(home, ".fetch-*")); len(rest) > 0 {
		t.Errorf("temporary folders are left: %v", rest)
	}
}

func TestFetchErrors(t *testing.T) {
	t.Setenv("NINOX_DATA", t.TempDir())
	for _, k := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"cifar100"}, app.ExitFailed, "get train.bin, test.bin from"},
		{[]string{"mnist", "--from", "nowhere"}, app.ExitFailed, "nowhere"},
		{[]string{"embedded"}, app.ExitUsage, "expected one of fashion-mnist, mnist"},
		{[]string{"npz"}, app.ExitUsage, "expected one of fashion-mnist, mnist"},
		{[]string{"mnist", "--overwrite"}, app.ExitUsage, "go with --from"},
	} {
		if _, err := ninox(&app.App{}, append([]string{"fetch"}, k.args...)...); app.ExitCode(err) != k.code || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%v: error %v, expected %q", k.args, err, k.want)
		}
	}
}

func TestList(t *testing.T) {
	home := t.TempDir()
	t.Setenv("NINOX_DATA", home)
	if err := os.Mkdir(filepath.Join(home, "cifar10"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := ninox(&app.App{JSON: true}, "list")
	if err != nil {
		t.Fatal(err)
	}
	var list []Entry
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]Entry{}
	for _, e := range list {
		found[e.Kind] = e
	}
	if e := found["cifar10"]; e.Found != filepath.Join(home, "cifar10") || e.Spec != "cifar10[:DIR]" {
		t.Errorf("cifar10: %+v", e)
	}
	if found["embedded"].Found != "embedded" || found["npz"].Spec != "npz:FILE" || found["cifar100"].Found != "" {
		t.Errorf("entries %+v", list)
	}
	out, err = ninox(&app.App{}, "list")
	for _, want := range []string{"part of the program", "found in " + filepath.Join(home, "cifar10"), "not found: get it from www.cs.toronto.edu"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("the list does not say %q (%v):\n%s", want, err, out)
		}
	}
}

// Every flag occurs in a test above.
func TestFlagsAreTested(t *testing.T) {
	for _, c := range NewCommand(&app.App{}).Commands() {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			switch f.Name {
			case "from", "link", "overwrite", "help":
			default:
				t.Errorf("flag --%s of %s has no test", f.Name, c.Name())
			}
		})
	}
}
