package library

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// client is a program that fetches packages.
type client struct {
	kind    string   // "pip" or "npm"
	command []string // program and first arguments
}

// clients are tried in this order.
var clients = []client{
	{"pip", []string{"python3", "-m", "pip"}},
	{"pip", []string{"python", "-m", "pip"}},
	{"pip", []string{"pip3"}},
	{"pip", []string{"pip"}},
	{"npm", []string{"npm"}},
}

func (c client) name() string { return strings.Join(c.command, " ") }

func (c client) present() bool {
	_, err := exec.LookPath(c.command[0])
	return err == nil
}

// arguments make the client save the package's archive in dir.
func (p *pkg) arguments(dir string) []string {
	if p.client == "npm" {
		return []string{"pack", "--silent", "--pack-destination", dir, p.name + "@" + p.version}
	}
	return []string{
		"download", "--no-deps", "--only-binary", ":all:", "--platform", p.tag, "--python-version", strings.TrimPrefix(python, "cp"),
		"--implementation", "cp", "--abi", python, "--dest", dir, p.name + "==" + p.version,
	}
}

// byHand is a command that fetches the package into the current folder.
func byHand(p *pkg) string {
	program := "python3 -m pip"
	if p.client == "npm" {
		program = "npm"
	}
	return program + " " + strings.Join(p.arguments("."), " ")
}

// download runs the client and returns the path of the archive, in a folder of
// work. It reports progress by the size of what the client has written so far.
func download(ctx context.Context, p *pkg, c client, work string, progress io.Writer) (string, error) {
	dir := filepath.Join(work, "download")
	temp := filepath.Join(work, "temp")
	for _, d := range []string{dir, temp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return "", err
		}
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, c.command[0], append(c.command[1:len(c.command):len(c.command)], p.arguments(dir)...)...)
	cmd.Dir = work // a module or settings in the current folder must not matter
	// The client's temporary files come under work, where their growth is seen
	// and from where they are removed even if the client is killed.
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "TEMP="+temp, "TMP="+temp, "npm_config_cache="+temp,
		"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_PROGRESS_BAR=off", "PIP_NO_INPUT=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second // for children that keep the output open

	title := fmt.Sprintf("downloading ONNX Runtime %s (%d MB) with %s", p.version, (p.size+500_000)/1_000_000, c.name())
	stop := report(progress, title, p.size, func() int64 { return folderSize(work) })
	err := cmd.Run()
	stop(err == nil)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, tail(output.String()))
	}
	archive := filepath.Join(dir, p.archive)
	if _, err := os.Stat(archive); err != nil {
		return "", fmt.Errorf("it did not save %s, but %s", p.archive, listing(dir))
	}
	return archive, nil
}

// folderSize is the number of bytes in the files below dir. Files may vanish
// meanwhile.
func folderSize(dir string) int64 {
	var n int64
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

func listing(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	if len(entries) == 0 {
		return "nothing"
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, ", ")
}

// tail is the last lines of a program's output, where the error is.
func tail(s string) string {
	const most = 5
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, "\n  ")
}
