// Package scripttest runs the command line through scripts that read like
// stories (txtar files, see github.com/rogpeppe/go-internal/testscript).
//
// Beyond testscript's own commands there are:
//
//	exits CODE COMMAND…   run a command, which must exit with CODE; passes interrupts on
//	waitfor FILE          wait until a file exists
//	jsonpath FILE PATH WANT   compare a value of a JSON file ("stdout" is the last output): a.b.0
//	onnx FILE             fails unless the file is an ONNX model that passes the checker
//
// and the conditions [ort] (ONNX Runtime can be had; otherwise the script is
// skipped, or fails where NINOX_REQUIRE lists ort) and [shared] (the shared
// fixtures lie beside the repository, in $SHARED). Models and data that scripts
// use lie in $FIXTURES; see Fixtures.
package scripttest
