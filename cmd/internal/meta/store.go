package meta

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/nino/meta"
)

func cacheFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "cache", "", "folder for the runs of a bucket on this machine (default: of the user's cache)")
}

// openStore opens a store at a folder or the URL of a bucket.
func openStore(ctx context.Context, place, cache string) (*meta.Store, error) {
	if meta.IsURL(place) {
		return meta.OpenBucket(ctx, place, cache)
	}
	if cache != "" {
		return nil, app.Usagef("--cache: %s is no bucket", place)
	}
	return meta.OpenStore(place)
}

// fetchStore opens a store for reading and brings what its bucket holds.
func fetchStore(ctx context.Context, a *app.App, place, cache string) (*meta.Store, error) {
	s, err := openStore(ctx, place, cache)
	if err != nil {
		return nil, err
	}
	n, err := s.Fetch(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if n > 0 {
		a.Notef("%s: %d runs fetched to %s", place, n, s.Dir())
	}
	return s, nil
}
