package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Client is a program that fetches packages.
type Client struct {
	Kind    string   // "pip", "npm" or "apt"
	Command []string // program and first arguments
}

// Name is how messages call the client.
func (c Client) Name() string { return strings.Join(c.Command, " ") }

// Present says whether the program is on PATH.
func (c Client) Present() bool {
	_, err := exec.LookPath(c.Command[0])
	return err == nil
}

// Request is what a client is to fetch.
type Request struct {
	What    string // for messages: "ONNX Runtime 1.31.1"
	Archive string // name of the file that the client saves
	Size    int64  // of the archive, in bytes
	// Arguments make the client save the archive in dir.
	Arguments func(dir string) []string
}

// Download runs the client and returns the path of the archive, in a folder of
// work. It reports progress by the size of what the client has written so far.
func Download(ctx context.Context, c Client, r Request, work string, progress io.Writer) (string, error) {
	dir := filepath.Join(work, "download")
	temp := filepath.Join(work, "temp")
	for _, d := range []string{dir, temp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return "", err
		}
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Command[0], append(c.Command[1:len(c.Command):len(c.Command)], r.Arguments(dir)...)...)
	cmd.Dir = work // a module or settings in the current folder must not matter
	if c.Kind == "apt" {
		cmd.Dir = dir // where apt-get saves what it downloads
	}
	// The client's temporary files come under work, where their growth is seen
	// and from where they are removed even if the client is killed.
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "TEMP="+temp, "TMP="+temp, "npm_config_cache="+temp,
		"PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_PROGRESS_BAR=off", "PIP_NO_INPUT=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second // for children that keep the output open

	title := fmt.Sprintf("downloading %s (%d MB) with %s", r.What, (r.Size+500_000)/1_000_000, c.Name())
	stop := report(progress, title, r.Size, func() int64 { return folderSize(work) })
	err := cmd.Run()
	stop(err == nil)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, tail(output.String()))
	}
	archive := filepath.Join(dir, r.Archive)
	if _, err := os.Stat(archive); err != nil {
		return "", fmt.Errorf("it did not save %s, but %s", r.Archive, listing(dir))
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

// ChecksumError reports an archive that is not the pinned one.
type ChecksumError struct {
	File      string
	Want, Got string // SHA-256 in hexadecimal
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s has SHA-256 %s, expected %s: it is not the published file and was not installed", e.File, e.Got, e.Want)
}

// Verify compares the SHA-256 of a file with the pinned one.
func Verify(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return &ChecksumError{File: filepath.Base(path), Want: want, Got: got}
	}
	return nil
}
