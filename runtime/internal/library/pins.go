package library

import (
	"path"
	"runtime"
	"slices"
)

// pkg is one package of a registry, pinned by the SHA-256 of its archive.
type pkg struct {
	client   string // "pip" or "npm"
	name     string
	version  string
	platform string // as folders of the cache spell it, "linux-x64"
	tag      string // the client's name of the platform
	gpu      bool
	archive  string // name of the file that the client saves
	size     int64  // of the archive
	sha256   string
	members  []string // files of the archive that are kept, the library first
}

// folder is the name of the package's folder in the cache.
func (p *pkg) folder() string {
	f := p.version + "-" + p.platform
	if p.gpu {
		f += "-gpu"
	}
	return f
}

// library is the name of the library file.
func (p *pkg) library() string { return path.Base(p.members[0]) }

// hostPlatform is the platform of this process, e.g. "linux-x64".
func hostPlatform() string {
	system := map[string]string{"darwin": "macos"}[runtime.GOOS]
	if system == "" {
		system = runtime.GOOS
	}
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return system + "-" + arch
}

// packages lists what can be installed on a platform, the preferred first.
func packages(platform string, gpu bool) []*pkg {
	var out []*pkg
	for i := range pins {
		if p := &pins[i]; p.platform == platform && p.gpu == gpu {
			out = append(out, p)
		}
	}
	return out
}

// platforms lists the platforms that have a package, sorted.
func platforms(gpu bool) []string {
	var out []string
	for _, p := range pins {
		if p.gpu == gpu {
			out = append(out, p.platform)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pins holds every package. Wheels differ between versions of Python only in
// the module for Python, so one version stands for all. npm has no package of
// release 1.31.1; the newest that it has is the second choice.
var pins = slices.Concat(
	[]pkg{
		wheel("linux-x64", "manylinux_2_28_x86_64", 23760988, "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536", unixMembers...),
		wheel("linux-arm64", "manylinux_2_28_aarch64", 21420803, "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc", unixMembers...),
		wheel("macos-arm64", "macosx_14_0_arm64", 20882125, "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
			"libonnxruntime."+Version+".dylib"),
		wheel("windows-x64", "win_amd64", 14888466, "ae8a9a351efda685cc59a66226cdefaa37a126c1d66872ca23a2de9425326130", windowsMembers...),
		wheel("windows-arm64", "win_arm64", 14740724, "fe8b9ac1ae8e894e12c47ee82e4f6dfc1835768133687257866469fda80d0bf1", windowsMembers...),
		withCUDA(wheel("linux-x64", "manylinux_2_28_x86_64", 255569273, "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
			append(slices.Clone(unixMembers), "libonnxruntime_providers_cuda.so")...)),
		withCUDA(wheel("windows-x64", "win_amd64", 168098228, "2bb1e9373baba88f6415257f5b6a589d23e23c16004f7d89adf4344eada5749e",
			append(slices.Clone(windowsMembers), "onnxruntime_providers_cuda.dll")...)),
	},
	[]pkg{
		tarball("linux-x64", "linux/x64/libonnxruntime.so.1"),
		tarball("linux-arm64", "linux/arm64/libonnxruntime.so.1"),
		tarball("macos-arm64", "darwin/arm64/libonnxruntime.1.30.0.dylib"),
		tarball("windows-x64", "win32/x64/onnxruntime.dll"),
		tarball("windows-arm64", "win32/arm64/onnxruntime.dll"),
	},
)

var (
	unixMembers    = []string{"libonnxruntime.so." + Version, "libonnxruntime_providers_shared.so"}
	windowsMembers = []string{"onnxruntime.dll", "onnxruntime_providers_shared.dll"}
)

// python is the version of Python whose wheels are pinned.
const python = "cp312"

func wheel(platform, tag string, size int64, sha256 string, members ...string) pkg {
	p := pkg{client: "pip", name: "onnxruntime", version: Version, platform: platform, tag: tag, size: size, sha256: sha256}
	p.archive = p.name + "-" + Version + "-" + python + "-" + python + "-" + tag + ".whl"
	for _, m := range members {
		p.members = append(p.members, "onnxruntime/capi/"+m)
	}
	return p
}

// withCUDA makes a wheel one of the package with CUDA.
func withCUDA(p pkg) pkg {
	p.gpu, p.name = true, "onnxruntime-gpu"
	p.archive = "onnxruntime_gpu-" + Version + "-" + python + "-" + python + "-" + p.tag + ".whl"
	return p
}

func tarball(platform, member string) pkg {
	return pkg{
		client: "npm", name: "onnxruntime-node", version: "1.30.0", platform: platform, archive: "onnxruntime-node-1.30.0.tgz",
		size: 113507888, sha256: "6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75",
		members: []string{"package/bin/napi-v6/" + member},
	}
}
