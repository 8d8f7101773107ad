package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// startKubelet serves logs and exec for all nodes, to who shows a certificate of the cluster.
func (b *bed) startKubelet() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.nodes.kubeletPort = int32(listener.Addr().(*net.TCPAddr).Port)
	serving, err := tls.LoadX509KeyPair(b.path("serving.crt"), b.path("serving.key"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", b.logs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", b.exec)
	mux.HandleFunc("/exec/{namespace}/{pod}/{uid}/{container}", b.exec)
	server := &http.Server{
		Handler:  mux,
		ErrorLog: log.New(io.Discard, "", 0),
		// Upgrades need HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: b.ca.pool(),
		},
	}
	b.run("the kubelet", func() error { return server.ServeTLS(listener, "", "") })
	return nil
}

// container finds the pod that is meant and the status of its container, or answers as a kubelet does.
func (b *bed) container(w http.ResponseWriter, r *http.Request) (*corev1.Pod, *corev1.ContainerStatus) {
	pod, err := b.pods.lister.Pods(r.PathValue("namespace")).Get(r.PathValue("pod"))
	if err != nil {
		http.Error(w, fmt.Sprintf("pod \"%s\" not found", r.PathValue("pod")), http.StatusNotFound)
		return nil, nil
	}
	if !b.nodes.present(pod.Spec.NodeName) {
		// As nobody there: the connection ends.
		panic(http.ErrAbortHandler)
	}
	for _, all := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range all {
			if all[i].Name == r.PathValue("container") {
				return pod, &all[i]
			}
		}
	}
	http.Error(w, fmt.Sprintf("container \"%s\" not found in pod", r.PathValue("container")), http.StatusNotFound)
	return nil, nil
}

func (b *bed) logs(w http.ResponseWriter, r *http.Request) {
	pod, container := b.container(w, r)
	if pod == nil {
		return
	}
	query := r.URL.Query()
	previous := query.Get("previous") == "true"
	if previous && container.LastTerminationState.Terminated == nil {
		http.Error(w, fmt.Sprintf("previous terminated container \"%s\" in pod \"%s\" not found", container.Name, pod.Name), http.StatusBadRequest)
		return
	}
	if waiting := container.State.Waiting; waiting != nil && waiting.Reason != "CrashLoopBackOff" && !previous {
		http.Error(w, fmt.Sprintf("container \"%s\" in pod \"%s\" is waiting to start: %s", container.Name, pod.Name, waiting.Reason), http.StatusBadRequest)
		return
	}
	lines := b.written(pod, container)
	if last, err := strconv.Atoi(query.Get("tailLines")); err == nil && last < len(lines) {
		lines = lines[len(lines)-last:]
	}
	if query.Get("timestamps") == "true" {
		at := b.pods.life(pod).started.UTC().Format(time.RFC3339Nano)
		for i := range lines {
			lines[i] = at + " " + lines[i]
		}
	}
	text := ""
	for _, line := range lines {
		text += line + "\n"
	}
	if limit, err := strconv.Atoi(query.Get("limitBytes")); err == nil && limit < len(text) {
		text = text[:limit]
	}
	w.Header().Set("Content-Type", "text/plain")
	out := bufio.NewWriter(w)
	out.WriteString(text)
	out.Flush()
	if query.Get("follow") == "true" && container.State.Running != nil {
		w.(http.Flusher).Flush()
		b.untilStopped(r, pod, container.ContainerID)
	}
}

// untilStopped waits until this very container runs no longer, or the client has gone.
func (b *bed) untilStopped(r *http.Request, pod *corev1.Pod, id string) {
	for {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(lookAgain):
		}
		now, err := b.pods.lister.Pods(pod.Namespace).Get(pod.Name)
		if err != nil || now.UID != pod.UID || !slices.ContainsFunc(now.Status.ContainerStatuses, func(one corev1.ContainerStatus) bool {
			return one.ContainerID == id && one.State.Running != nil
		}) {
			return
		}
	}
}

// written are the lines that a container has written.
func (b *bed) written(pod *corev1.Pod, container *corev1.ContainerStatus) []string {
	if text, ok := pod.Annotations[logsKey]; ok {
		return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	lines := []string{fmt.Sprintf("%s starts", container.Name), "reading its configuration"}
	if b.rules.failure("Pod", pod) == crashLoop {
		return append(lines, "fatal: the configuration cannot be read", fmt.Sprintf("exiting with code %d", exitCode(pod)))
	}
	return append(lines, "ready")
}

func (b *bed) exec(w http.ResponseWriter, r *http.Request) {
	pod, container := b.container(w, r)
	if pod == nil {
		return
	}
	if container.State.Running == nil {
		http.Error(w, fmt.Sprintf("container not found (\"%s\")", container.Name), http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, &scripted{pod: pod}, pod.Name, string(pod.UID), container.Name,
		r.URL.Query()["command"], options, time.Hour, 30*time.Second, remotecommand.SupportedStreamingProtocols)
}
