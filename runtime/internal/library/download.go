package library

import (
	"strings"

	"ninox/internal/fetch"
)

type client = fetch.Client

// clients are tried in this order.
var clients = []client{
	{Kind: "pip", Command: []string{"python3", "-m", "pip"}},
	{Kind: "pip", Command: []string{"python", "-m", "pip"}},
	{Kind: "pip", Command: []string{"pip3"}},
	{Kind: "pip", Command: []string{"pip"}},
	{Kind: "npm", Command: []string{"npm"}},
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

// request is what a client is asked for.
func (p *pkg) request() fetch.Request {
	return fetch.Request{What: "ONNX Runtime " + p.version, Archive: p.archive, Size: p.size, Arguments: p.arguments}
}
