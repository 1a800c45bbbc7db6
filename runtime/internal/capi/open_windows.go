package capi

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// entry loads the library and finds its entry point. The library stays loaded:
// a library with threads of its own cannot be unloaded safely.
func entry(path string) (unsafe.Pointer, error) {
	handle, err := windows.LoadLibraryEx(path, 0, windows.LOAD_WITH_ALTERED_SEARCH_PATH)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	p, err := windows.GetProcAddress(handle, "OrtGetApiBase")
	if err != nil {
		windows.FreeLibrary(handle)
		return nil, fmt.Errorf("%s is not ONNX Runtime: %w", path, err)
	}
	// Code of a loaded library is no memory of Go's, so the conversion is sound.
	return *(*unsafe.Pointer)(unsafe.Pointer(&p)), nil
}
