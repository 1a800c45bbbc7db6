package ort

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	binding "github.com/yalue/onnxruntime_go"

	"ninox/runtime/internal/capi"
	"ninox/runtime/internal/library"
)

// Version is the release of ONNX Runtime that ninox installs.
const Version = library.Version

// Options say where and how models run. The zero value is the CPU with a
// thread per core.
type Options struct {
	Device   string       // "cpu" (default), "cuda" or "cuda:N"
	Threads  int          // threads of one operator; 0: one per core
	Progress io.Writer    // where an installation reports; nil: nowhere
	Log      *slog.Logger // nil: silent
}

// Engine makes sessions. Engines of one process share the library.
type Engine struct {
	device  device
	threads int
}

// device is a parsed Options.Device.
type device struct {
	cuda bool
	id   int
}

func parseDevice(s string) (device, error) {
	name, id, numbered := strings.Cut(s, ":")
	switch {
	case s == "" || s == "cpu":
		return device{}, nil
	case s == "cuda":
		return device{cuda: true}, nil
	case name == "cuda" && numbered:
		if n, err := strconv.ParseUint(id, 10, 16); err == nil {
			return device{cuda: true, id: int(n)}, nil
		}
	}
	return device{}, &DeviceError{Device: s, Reason: "expected cpu, cuda or cuda:N"}
}

func (d device) String() string {
	if d.cuda {
		return fmt.Sprintf("cuda:%d", d.id)
	}
	return "cpu"
}

// loaded is the library of this process: once one is loaded it stays, since
// sessions and values of all engines belong to it.
var loaded struct {
	sync.Mutex
	from      library.Installation
	providers []string
}

// cudaProvider is ONNX Runtime's name for CUDA.
const cudaProvider = "CUDAExecutionProvider"

// Open makes an engine. It finds ONNX Runtime ($NINOX_ORT_LIB, the cache of
// ninox, the system) or installs it, and loads it once per process.
func Open(ctx context.Context, o Options) (*Engine, error) {
	dev, err := parseDevice(o.Device)
	if err != nil {
		return nil, err
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("%d threads: expected a number from 1 on, or 0 for one per core", o.Threads)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if err := load(ctx, dev, o); err != nil {
		return nil, err
	}
	e := &Engine{device: dev, threads: o.Threads}
	if dev.cuda { // else the first session would be the first to know
		so, err := e.options(SessionOptions{Threads: 1})
		if err != nil {
			return nil, err
		}
		so.Destroy()
	}
	return e, nil
}

// load loads the library where none is loaded yet, and checks that it can run
// on the device.
func load(ctx context.Context, dev device, o Options) error {
	loaded.Lock()
	defer loaded.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if loaded.providers == nil {
		found, err := library.Find(dev.cuda, capi.Probe)
		if errors.Is(err, library.ErrNotFound) && !dev.cuda {
			found, err = library.Install(ctx, library.InstallOptions{Progress: o.Progress})
		}
		switch {
		case errors.Is(err, library.ErrNotFound):
			return noCUDA(dev, "ONNX Runtime with CUDA is not installed")
		case err != nil:
			return err
		}
		if err := start(found); err != nil {
			return err
		}
		o.Log.Debug("ONNX Runtime loaded", "version", found.Version, "path", found.Path, "source", found.Source, "providers", loaded.providers)
	}
	if dev.cuda && !slices.Contains(loaded.providers, cudaProvider) {
		return noCUDA(dev, fmt.Sprintf("%s is built without CUDA", loaded.from.Path))
	}
	return nil
}

func noCUDA(dev device, why string) error {
	return &DeviceError{Device: dev.String(), Reason: why + "; run `ninox runtime install --gpu`"}
}

// start loads a library that Find or Install returned.
func start(found library.Installation) error {
	if err := capi.Use(found.Path, library.API); err != nil {
		return fmt.Errorf("load ONNX Runtime: %w", err)
	}
	if !binding.IsInitialized() {
		binding.SetSharedLibraryPath(found.Path)
		if err := binding.InitializeEnvironment(binding.WithLogLevelError()); err != nil {
			return fmt.Errorf("load ONNX Runtime from %s: %w", found.Path, err)
		}
	}
	// Only builds for Windows have telemetry; elsewhere this does nothing.
	if err := binding.DisableTelemetry(); err != nil {
		return fmt.Errorf("ONNX Runtime: %w", err)
	}
	providers, err := capi.Providers()
	if err != nil {
		return fmt.Errorf("ONNX Runtime: providers: %w", err)
	}
	loaded.from, loaded.providers = found, providers
	return nil
}

// Device is where sessions of the engine run: "cpu" or "cuda:N".
func (e *Engine) Device() string { return e.device.String() }

// Threads is the number of threads of a session that asks for none.
func (e *Engine) Threads() int { return e.threads }

// Installation says where a library is and how it came there.
type Installation = library.Installation

// InstallOptions say what Install fetches.
type InstallOptions = library.InstallOptions

// Install downloads ONNX Runtime into the cache with a package client, checks
// it against a pinned SHA-256 and returns where it is. What is there already
// is kept unless Force is set. The process that runs it need not load it.
func Install(ctx context.Context, o InstallOptions) (Installation, error) {
	return library.Install(ctx, o)
}

// Information describes the library that is in use, or would be.
type Information struct {
	Version   string   `json:"version"`
	Path      string   `json:"path"`
	Source    string   `json:"source"`
	Providers []string `json:"providers"`
}

// Info finds the library without installing one, loads it and describes it.
// Where there is none the error says how to get it.
func Info(ctx context.Context) (Information, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if err := ctx.Err(); err != nil {
		return Information{}, err
	}
	if loaded.providers == nil {
		found, err := library.Find(false, capi.Probe)
		if err != nil {
			return Information{}, err
		}
		if err := start(found); err != nil {
			return Information{}, err
		}
	}
	f := loaded.from
	return Information{Version: f.Version, Path: f.Path, Source: f.Source, Providers: slices.Clone(loaded.providers)}, nil
}

// Errors of an installation.
type (
	DownloadError = library.DownloadError
	ChecksumError = library.ChecksumError
	PlatformError = library.PlatformError
)

// ErrNotInstalled says that there is no library on this machine.
var ErrNotInstalled = library.ErrNotFound
