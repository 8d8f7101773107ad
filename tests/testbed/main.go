// Command testbed is a real Kubernetes control plane in one process, for tests: etcd, API server, controller manager
// and scheduler on loopback and free ports, with throwaway certificates, and a played node below it.
//
// It prints one line of JSON when everything is ready and ends, with its folder removed, on SIGTERM or SIGINT, when
// its standard input is closed, or when its parent is gone. README.md tells what can be asked of it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	utilversion "k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// startLimit ends a start that hangs; 4 s is what it takes on an idle machine with two cores.
const startLimit = 180 * time.Second

// stderr is where people look; what the components write goes to the log.
var stderr = os.Stderr

// ready is the line that says so.
type ready struct {
	Kubeconfig string `json:"kubeconfig"`
	// Direct leads to the API server without the front that plays its faults.
	Direct  string `json:"direct"`
	Server  string `json:"server"`
	Control string `json:"control"`
	Folder  string `json:"folder"`
	Kubectl string `json:"kubectl"`
	Version string `json:"version"`
	Node    string `json:"node"`
	Pid     int    `json:"pid"`
	ReadyMS int64  `json:"ready_ms"`
}

func main() {
	folder := flag.String("folder", "", "where to keep everything; a new temporary folder when empty; removed at the end")
	keep := flag.Bool("keep", false, "go on when standard input is closed: for use by hand")
	flag.Parse()
	began := time.Now()
	parent := os.Getppid()
	// Before anything is there that whoever ends it could wait for.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)

	if err := prepare(folder); err != nil {
		fmt.Fprintln(stderr, "testbed:", err)
		os.Exit(1)
	}
	end := func(code int, why string) {
		klog.InfoS("ending", "why", why)
		klog.Flush()
		// Nothing here outlives the process, so nothing is worth a graceful end of its parts; but they may still be
		// making files while these are removed.
		for range 100 {
			if os.RemoveAll(*folder) == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		os.Exit(code)
	}
	go func() { end(0, (<-signals).String()) }()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(500 * time.Millisecond)
		}
		end(0, "the parent is gone")
	}()
	if !*keep {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			end(0, "standard input is closed")
		}()
	}

	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	bed, err := start(ctx, *folder)
	if err != nil {
		fmt.Fprintf(stderr, "testbed: %v\nthe last lines of its log:\n%s", err, tail(filepath.Join(*folder, "log"), 4000))
		end(1, err.Error())
	}
	self, _ := os.Executable()
	line, _ := json.Marshal(ready{
		Kubeconfig: bed.path("kubeconfig"),
		Direct:     bed.path("direct"),
		Server:     bed.front("main").url(),
		Control:    bed.control,
		Folder:     *folder,
		Kubectl:    filepath.Join(filepath.Dir(self), "kubectl"),
		Version:    utilversion.Get().GitVersion,
		Node:       firstNode,
		Pid:        os.Getpid(),
		ReadyMS:    time.Since(began).Milliseconds(),
	})
	fmt.Println(string(line))
	end(1, (<-bed.broken).Error())
}

// prepare makes the folder, and sends every word of the components to a file in it.
func prepare(folder *string) error {
	var err error
	if *folder == "" {
		sweep()
		*folder, err = os.MkdirTemp("", "testbed")
	} else {
		if *folder, err = filepath.Abs(*folder); err == nil {
			err = os.MkdirAll(*folder, 0o700)
		}
	}
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(*folder, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(log.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is another one's: %w", *folder, err)
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true"} {
		if err := flags.Set(name, value); err != nil {
			return err
		}
	}
	klog.SetOutput(log)
	// etcd's client writes to the standard error whatever it is told; that goes to the log too, but for a crash.
	fd, err := syscall.Dup(2)
	if err != nil {
		return err
	}
	syscall.CloseOnExec(fd)
	stderr = os.NewFile(uintptr(fd), "stderr")
	if err := debug.SetCrashOutput(stderr, debug.CrashOptions{}); err != nil {
		return err
	}
	return syscall.Dup3(int(log.Fd()), 2, 0)
}

// sweep removes what one left that was killed in a way nobody can answer: a folder whose log nobody holds. One that is
// younger than a minute may still be about to hold it.
func sweep() {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "testbed[0-9]*", "log"))
	for _, path := range logs {
		log, err := os.Open(path)
		if err != nil {
			continue
		}
		about, err := log.Stat()
		if err == nil && time.Since(about.ModTime()) > time.Minute &&
			syscall.Flock(int(log.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(filepath.Dir(path))
		}
		log.Close()
	}
}

func tail(path string, limit int) []byte {
	text, _ := os.ReadFile(path)
	if len(text) > limit {
		text = text[len(text)-limit:]
	}
	return text
}
