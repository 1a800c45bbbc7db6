package job

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/models"
	"ninox/training"
)

// Source is what the first argument of train and accelerate names: exactly one
// of Task, Model and Dir is set.
type Source struct {
	Task  *models.Task
	Model string // an ONNX file
	Dir   string // a folder of training artifacts
}

// Name is what records call the source: the task, or the file or folder
// without path and extension.
func (s Source) Name() string {
	if s.Task != nil {
		return s.Task.Name
	}
	base := filepath.Base(filepath.Clean(s.Model + s.Dir))
	return strings.TrimSuffix(base, ".onnx")
}

// ParseSource finds out what an argument names. A file or a folder of
// artifacts goes before a task of the same name.
func ParseSource(arg string) (Source, error) {
	task, unknown := models.Lookup(arg)
	st, err := os.Stat(arg)
	switch {
	case err == nil && !st.IsDir():
		return Source{Model: arg}, nil
	case err == nil && exists(filepath.Join(arg, training.TrainingFile)):
		return Source{Dir: arg}, nil
	case unknown == nil:
		return Source{Task: &task}, nil
	case models.IsSized(arg):
		return Source{}, &app.UsageError{Err: unknown}
	case err == nil:
		return Source{}, fmt.Errorf("folder %s holds no training artifacts (%s is missing); 'ninox artifacts MODEL -o %s' writes them", arg, training.TrainingFile, arg)
	case !errors.Is(err, fs.ErrNotExist):
		return Source{}, err
	case strings.ContainsAny(arg, "/\\") || filepath.Ext(arg) != "":
		return Source{}, err
	}
	return Source{}, app.Usagef("%q is no file, no folder and no task; tasks are %s, and networks of any size gpt2:LAYERS,WIDTH,HEADS and llama:LAYERS,WIDTH,HEADS", arg, strings.Join(TaskNames(), ", "))
}

// TaskNames lists the tasks that need no model file.
func TaskNames() []string {
	var names []string
	for _, t := range models.Tasks() {
		names = append(names, t.Name)
	}
	return names
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// CompleteSource completes a source argument in the shell: tasks and files.
func CompleteSource(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return TaskNames(), cobra.ShellCompDirectiveDefault
}
