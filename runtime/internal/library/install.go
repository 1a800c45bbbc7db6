package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ninox/internal/fetch"
)

// InstallOptions say what Install fetches.
type InstallOptions struct {
	GPU      bool      // the build with CUDA
	Force    bool      // fetch it although it is there
	Progress io.Writer // a bar on a terminal, else lines; nil: nowhere
}

// ChecksumError reports an archive that is not the pinned one.
type ChecksumError = fetch.ChecksumError

// DownloadError reports that no package client could fetch the library.
type DownloadError struct {
	Attempts []error // one per client that was tried
	Command  string  // what to run by hand
	Library  string  // file of the archive that NINOX_ORT_LIB must name
}

func (e *DownloadError) Error() string {
	why := "neither pip nor npm is on PATH"
	if len(e.Attempts) > 0 {
		why = strings.TrimSpace(errors.Join(e.Attempts...).Error())
	}
	return fmt.Sprintf("cannot download ONNX Runtime: %s\nIf another machine can, run there\n  %s\nunpack the file, which is a zip archive, and set NINOX_ORT_LIB to its %s", why, e.Command, e.Library)
}

func (e *DownloadError) Unwrap() []error { return e.Attempts }

// PlatformError reports a platform for which there is no package.
type PlatformError struct {
	Platform  string
	GPU       bool
	Supported []string
}

func (e *PlatformError) Error() string {
	what := "ONNX Runtime"
	if e.GPU {
		what += " with CUDA"
	}
	return fmt.Sprintf("no package of %s for %s, only for %s; set NINOX_ORT_LIB to a library of your own",
		what, e.Platform, strings.Join(e.Supported, ", "))
}

// Install fetches the library into the cache and returns where it is. Several
// processes may call it at once: one fetches, the others wait for it.
func Install(ctx context.Context, o InstallOptions) (Installation, error) {
	return install(ctx, o, hostPlatform(), clients)
}

func install(ctx context.Context, o InstallOptions, platform string, available []client) (Installation, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	choices := packages(platform, o.GPU)
	if len(choices) == 0 {
		return Installation{}, &PlatformError{Platform: platform, GPU: o.GPU, Supported: platforms(o.GPU)}
	}
	root, err := cacheRoot()
	if err != nil {
		return Installation{}, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Installation{}, fmt.Errorf("folder of the cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(root, ".lock"), o.Progress)
	if err != nil {
		return Installation{}, err
	}
	defer unlock()
	if inst, ok := cached(root, platform, o.GPU); ok && !o.Force {
		return inst, nil
	}
	if err := removeLeftovers(root); err != nil {
		return Installation{}, err
	}
	return fetchAny(ctx, root, choices, available, o.Progress)
}

// fetchAny tries the packages in turn with every client that can fetch them. A
// wrong checksum ends the search: the registry or what lies before it is not
// to be trusted.
func fetchAny(ctx context.Context, root string, choices []*pkg, available []client, progress io.Writer) (Installation, error) {
	first := choices[0]
	failed := &DownloadError{Command: byHand(first), Library: first.members[0]}
	for _, p := range choices {
		for _, c := range available {
			if c.Kind != p.client || !c.Present() {
				continue
			}
			inst, err := fetchOne(ctx, root, p, c, progress)
			var wrong *ChecksumError
			switch {
			case err == nil:
				return inst, nil
			case ctx.Err() != nil:
				return Installation{}, ctx.Err()
			case errors.As(err, &wrong):
				return Installation{}, err
			}
			failed.Attempts = append(failed.Attempts, fmt.Errorf("%s: %w", c.Name(), err))
		}
	}
	return Installation{}, failed
}

// leftover starts the names of folders in which an installation is prepared.
const leftover = ".install-"

// removeLeftovers removes what installations that were killed left behind. The
// lock is held, so no other is under way.
func removeLeftovers(root string) error {
	old, err := filepath.Glob(filepath.Join(globQuote(root), leftover+"*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// fetchOne downloads one package and puts its files in their place.
func fetchOne(ctx context.Context, root string, p *pkg, c client, progress io.Writer) (_ Installation, err error) {
	work, err := os.MkdirTemp(root, leftover)
	if err != nil {
		return Installation{}, err
	}
	defer func() {
		if e := os.RemoveAll(work); err == nil && e != nil {
			err = e
		}
	}()
	archive, err := fetch.Download(ctx, c, p.request(), work, progress)
	if err != nil {
		return Installation{}, err
	}
	if err := fetch.Verify(archive, p.sha256); err != nil {
		return Installation{}, err
	}
	files := filepath.Join(work, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return Installation{}, err
	}
	if err := fetch.Unpack(ctx, archive, p.members, files); err != nil {
		return Installation{}, fmt.Errorf("%s: %w", p.archive, err)
	}
	target := filepath.Join(root, p.folder())
	if err := replace(files, target, filepath.Join(work, "replaced")); err != nil {
		return Installation{}, err
	}
	inst := Installation{Version: p.version, Source: p.client, Path: filepath.Join(target, p.library())}
	fmt.Fprintf(progress, "installed ONNX Runtime %s: %s\n", inst.Version, inst.Path)
	return inst, nil
}

// replace renames a prepared folder to its place; what is there goes to old,
// and comes back if the renaming fails.
func replace(prepared, target, old string) error {
	moved := false
	if err := os.Rename(target, old); err == nil {
		moved = true
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(prepared, target); err != nil {
		if moved {
			err = errors.Join(err, os.Rename(old, target))
		}
		return err
	}
	return fetch.SyncFolder(filepath.Dir(target))
}
