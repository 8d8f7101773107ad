package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// scripted answers commands in a container: those of the pod's annotation first, then a few of its own.
type scripted struct{ pod *corev1.Pod }

// script is what one command does.
type script struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Code   int    `json:"code"`
	// How long it runs before it writes anything.
	Seconds float64 `json:"seconds"`
}

var exits = regexp.MustCompile(`(?:^|[;&\s])exit (\d+)\s*$`)

// ExecInContainer runs one command, or says as a container runtime does that there is no such program.
func (s *scripted) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, err io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	scripts := map[string]script{}
	if text, ok := s.pod.Annotations[execKey]; ok {
		if wrong := json.Unmarshal([]byte(text), &scripts); wrong != nil {
			return fmt.Errorf("the annotation `%s` cannot be read: %w", execKey, wrong)
		}
	}
	if found, ok := scripts[strings.Join(command, " ")]; ok {
		return run(ctx, found, out, err)
	}
	words := strings.Join(command[1:], " ")
	switch name := command[0]; name {
	case "true":
		return nil
	case "false":
		return exit(1)
	case "echo":
		return run(ctx, script{Stdout: words + "\n"}, out, err)
	case "hostname":
		return run(ctx, script{Stdout: s.pod.Name + "\n"}, out, err)
	case "cat":
		if in != nil {
			io.Copy(out, in)
		}
		return nil
	case "sleep":
		seconds, wrong := strconv.ParseFloat(words, 64)
		if wrong != nil {
			return run(ctx, script{Stderr: "sleep: invalid time interval '" + words + "'\n", Code: 1}, out, err)
		}
		return run(ctx, script{Seconds: seconds}, out, err)
	case "yes":
		for {
			if _, wrong := io.WriteString(out, strings.Repeat("y\n", 4096)); wrong != nil {
				return exit(141)
			}
		}
	case "sh":
		if found := exits.FindStringSubmatch(words); found != nil {
			code, _ := strconv.Atoi(found[1])
			return exit(code)
		}
	case "nvidia-smi":
		if gpus(s.pod) > 0 {
			return run(ctx, nvidiaSMI(command[1:], gpus(s.pod)), out, err)
		}
	}
	return run(ctx, script{Code: 127, Stderr: fmt.Sprintf("OCI runtime exec failed: exec failed: unable to start container process: "+
		"exec: \"%s\": executable file not found in $PATH: unknown\n", command[0])}, out, err)
}

func run(ctx context.Context, s script, out, err io.Writer) error {
	if s.Seconds > 0 {
		select {
		case <-time.After(time.Duration(s.Seconds * float64(time.Second))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if out != nil {
		io.WriteString(out, s.Stdout)
	}
	if err != nil {
		io.WriteString(err, s.Stderr)
	}
	return exit(s.Code)
}

func exit(code int) error {
	if code == 0 {
		return nil
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
}

// gpus is how many a pod was granted.
func gpus(pod *corev1.Pod) int64 {
	var sum int64
	for _, container := range pod.Spec.Containers {
		granted := container.Resources.Limits["nvidia.com/gpu"]
		sum += granted.Value()
	}
	return sum
}

// What the played GPU says of itself, by the names of `nvidia-smi --help-query-gpu`, with their units.
var gpuFields = map[string][2]string{
	"name":                {"NVIDIA GeForce RTX 3070", ""},
	"gpu_name":            {"NVIDIA GeForce RTX 3070", ""},
	"driver_version":      {"580.95.05", ""},
	"memory.total":        {"8192", " MiB"},
	"memory.used":         {"1214", " MiB"},
	"memory.free":         {"6978", " MiB"},
	"utilization.gpu":     {"12", " %"},
	"utilization.memory":  {"5", " %"},
	"utilization.decoder": {"23", " %"},
	"utilization.encoder": {"0", " %"},
	"temperature.gpu":     {"51", ""},
	"power.draw":          {"58.20", " W"},
	"pstate":              {"P2", ""},
}

func nvidiaSMI(args []string, count int64) script {
	query, units, header := "", true, true
	for i, arg := range args {
		switch {
		case strings.HasPrefix(arg, "--query-gpu="):
			query = strings.TrimPrefix(arg, "--query-gpu=")
		case strings.HasPrefix(arg, "--format="):
			units, header = !strings.Contains(arg, "nounits"), !strings.Contains(arg, "noheader")
		case arg == "-L" && i == 0:
			return script{Stdout: "GPU 0: NVIDIA GeForce RTX 3070 (UUID: GPU-2f4b6d1c-0a7e-4c55-9d0b-6f1a3c2e8b90)\n"}
		}
	}
	if query == "" {
		return script{Stdout: table}
	}
	var row, titles []string
	for field := range strings.SplitSeq(query, ",") {
		switch value, ok := gpuFields[strings.TrimSpace(field)]; {
		case field == "index" || field == "count":
			row = append(row, map[string]string{"index": "0", "count": fmt.Sprint(count)}[field])
		case !ok:
			return script{Code: 2, Stdout: fmt.Sprintf("Field \"%s\" is not a valid field to query.\n\n", field)}
		case units:
			row = append(row, value[0]+value[1])
		default:
			row = append(row, value[0])
		}
		titles = append(titles, strings.TrimSpace(field))
	}
	text := strings.Join(row, ", ") + "\n"
	if header {
		text = strings.Join(titles, ", ") + "\n" + text
	}
	return script{Stdout: text}
}

const table = `+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.95.05              Driver Version: 580.95.05      CUDA Version: 13.0     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|=========================================+========================+======================|
|   0  NVIDIA GeForce RTX 3070        Off |   00000000:01:00.0 Off |                  N/A |
| 30%   51C    P2             58W /  220W |    1214MiB /   8192MiB |     12%      Default |
+-----------------------------------------+------------------------+----------------------+
`
