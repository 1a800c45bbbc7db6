package meta

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://
)

// IsURL says whether the place of a store is a bucket, such as
// s3://NAME?prefix=FOLDER/, rather than a folder.
func IsURL(place string) bool { return strings.Contains(place, "://") }

// bucket is where several machines keep the runs of one store. Objects are
// visible when they are complete, and a trajectory goes there after its model:
// what a listing shows is whole.
type bucket struct {
	*blob.Bucket
	url  string
	held map[string]bool // runs that were there when the store was opened
}

// OpenBucket opens a store in a bucket: file:///FOLDER, and in builds with the tag
// cloud also s3://NAME, gs://NAME and azblob://NAME, with the options and
// credentials of gocloud.dev/blob. dir is a folder of this machine where runs are
// made before they go to the bucket, and where Fetch brings them; "" stands for one
// of the user's cache.
func OpenBucket(ctx context.Context, url, dir string) (*Store, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", url, err)
		}
		h := sha256.Sum256([]byte(url))
		dir = filepath.Join(cache, "ninox", "stores", hex.EncodeToString(h[:8]))
	}
	s, err := OpenStore(dir)
	if err != nil {
		return nil, err
	}
	b, err := blob.OpenBucket(ctx, url)
	if err != nil {
		scheme, _, _ := strings.Cut(url, "://")
		if !blob.DefaultURLMux().ValidBucketScheme(scheme) {
			err = fmt.Errorf("this build stores in %q; 'go build -tags cloud ./cmd/ninox' adds s3, gs and azblob", blob.DefaultURLMux().BucketSchemes())
		}
		return nil, fmt.Errorf("store %s: %w", url, err)
	}
	s.bucket = &bucket{Bucket: b, url: url, held: map[string]bool{}}
	for list := b.List(nil); ; {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("store %s: %w", url, err), b.Close())
		}
		if id, ok := strings.CutSuffix(path.Base(o.Key), trajectorySuffix); ok {
			s.bucket.held[id] = true
		}
	}
}

// Close lets go of the bucket; folders need no closing.
func (s *Store) Close() error {
	if s.bucket == nil {
		return nil
	}
	return s.bucket.Close()
}

// upload moves a complete run to the bucket, if the store has one.
func (s *Store) upload(ctx context.Context, id string) error {
	if s.bucket == nil {
		return nil
	}
	suffixes := []string{modelSuffix, trajectorySuffix}
	for _, suffix := range suffixes {
		if err := s.bucket.put(ctx, s.path(id, suffix), id+suffix); err != nil {
			return fmt.Errorf("store %s: %s: %w", s.bucket.url, id+suffix, err)
		}
	}
	for _, suffix := range suffixes {
		if err := os.Remove(s.path(id, suffix)); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

func (b *bucket) put(ctx context.Context, file, key string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return b.Upload(ctx, key, f, &blob.WriterOptions{ContentType: "application/octet-stream"})
}

// Fetch brings the runs of the bucket that the folder lacks, and returns how
// many.
func (s *Store) Fetch(ctx context.Context) (int, error) {
	n := 0
	if s.bucket == nil {
		return n, nil
	}
	for id := range s.bucket.held {
		if s.complete(id) {
			continue
		}
		for _, suffix := range []string{modelSuffix, trajectorySuffix} {
			if err := s.bucket.get(ctx, id+suffix, s.path(id, suffix)); err != nil {
				return n, fmt.Errorf("store %s: %s: %w", s.bucket.url, id+suffix, err)
			}
		}
		n++
	}
	return n, nil
}

// get writes an object to a file, which appears when it is complete.
func (b *bucket) get(ctx context.Context, key, file string) error {
	f, err := os.Create(file + partSuffix)
	if err != nil {
		return err
	}
	err = errors.Join(b.Download(ctx, key, f, nil), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
