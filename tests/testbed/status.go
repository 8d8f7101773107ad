package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The words below are those of a kubelet 1.36 with containerd, which people search for and programs match on.

// desired is the status that a pod should have now, and when it should be looked at again.
func (b *bed) desired(pod *corev1.Pod, one *life, how string, now time.Time) (*corev1.PodStatus, time.Duration) {
	s := pod.Status.DeepCopy()
	s.HostIP, s.HostIPs = "127.0.0.1", []corev1.HostIP{{IP: "127.0.0.1"}}
	if s.StartTime == nil {
		at := metav1.NewTime(one.seen.Truncate(time.Second))
		s.StartTime = &at
	}
	build := building{pod: pod, status: s, life: one, now: metav1.NewTime(now.Truncate(time.Second))}

	if reason, message := b.missing(pod); reason != "" && one.started.IsZero() {
		if reason == "FailedMount" {
			b.pods.tell(pod, one, corev1.EventTypeWarning, reason, message)
			return build.waiting("ContainerCreating", ""), lookAgain
		}
		b.pods.tell(pod, one, corev1.EventTypeWarning, "Failed", "Error: "+message)
		return build.waiting(reason, message), lookAgain
	}
	if left := one.seen.Add(delay(pod)).Sub(now); one.started.IsZero() && left > 0 {
		return build.waiting("ContainerCreating", ""), left
	}
	switch {
	case how == crashLoop:
		return b.crashing(pod, one, build, now)
	// A container that runs has its image.
	case how == creating && one.started.IsZero():
		return build.waiting("ContainerCreating", ""), 0
	case how == imagePull && one.started.IsZero():
		return b.pulling(pod, one, build, now)
	}
	if one.started.IsZero() {
		one.started = now
		b.pods.tell(pod, one, corev1.EventTypeNormal, "Started", "Started container "+pod.Spec.Containers[0].Name)
	}
	// A container that is not to run for ever has done its work as soon as it was seen to run.
	if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways && how == "" {
		if s.Phase == corev1.PodRunning && now.Sub(one.started) >= delay(pod) {
			return build.ended(0, now), 0
		}
		return build.running(true), max(delay(pod), 50*time.Millisecond)
	}
	if one.down {
		one.down, one.started = false, now
	}
	if how == neverReady {
		b.pods.tell(pod, one, corev1.EventTypeWarning, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
	}
	return build.running(how != neverReady), 0
}

// pulling cannot, and says so twice, as a kubelet does: that it failed, and that it waits before it tries again.
func (b *bed) pulling(pod *corev1.Pod, one *life, build building, now time.Time) (*corev1.PodStatus, time.Duration) {
	image := pod.Spec.Containers[0].Image
	cause := fmt.Sprintf("failed to pull and unpack image \"%s\": failed to resolve reference \"%s\": %s: not found", image, image, image)
	if one.next.IsZero() {
		one.next = now.Add(lookAgain)
	}
	if now.Before(one.next) {
		b.pods.tell(pod, one, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image \"%s\": %s", image, cause))
		return build.waiting("ErrImagePull", cause), one.next.Sub(now)
	}
	back := fmt.Sprintf("Back-off pulling image \"%s\"", image)
	b.pods.tell(pod, one, corev1.EventTypeNormal, "BackOff", back)
	return build.waiting("ImagePullBackOff", back+": ErrImagePull: "+cause), 0
}

// crashing lets the first container end and start again for ever; a pod that is never restarted fails.
func (b *bed) crashing(pod *corev1.Pod, one *life, build building, now time.Time) (*corev1.PodStatus, time.Duration) {
	probed := pod.Spec.Containers[0].ReadinessProbe != nil || pod.Spec.Containers[0].StartupProbe != nil
	if one.started.IsZero() {
		one.started, one.next = now, now.Add(crashAfter)
	} else if one.next.IsZero() {
		one.next = now.Add(crashAfter)
	}
	if now.Before(one.next) {
		if one.down {
			return build.backingOff(), one.next.Sub(now)
		}
		return build.running(!probed), one.next.Sub(now)
	}
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		return build.ended(exitCode(pod), now), 0
	}
	one.down = !one.down
	if one.down {
		one.ended, one.next = now, now.Add(crashBackoff)
		b.events.Eventf(pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)",
			pod.Spec.Containers[0].Name, pod.Name, pod.Namespace, pod.UID)
		return build.backingOff(), crashBackoff
	}
	one.restarts++
	one.started, one.next = now, now.Add(crashAfter)
	return build.running(!probed), crashAfter
}

// building makes one status.
type building struct {
	pod    *corev1.Pod
	status *corev1.PodStatus
	life   *life
	now    metav1.Time
}

func (b building) waiting(reason, message string) *corev1.PodStatus {
	b.status.Phase = corev1.PodPending
	state := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	first := state
	if len(b.pod.Spec.InitContainers) > 0 && reason != "ContainerCreating" {
		state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	}
	b.status.InitContainerStatuses = b.each(b.pod.Spec.InitContainers, first, false, false)
	b.status.ContainerStatuses = b.each(b.pod.Spec.Containers, state, false, false)
	b.conditions(len(b.pod.Spec.InitContainers) == 0, false)
	return b.status
}

func (b building) running(ready bool) *corev1.PodStatus {
	b.status.Phase = corev1.PodRunning
	b.address()
	b.inits()
	at := metav1.NewTime(b.life.started.Truncate(time.Second))
	b.status.ContainerStatuses = b.each(b.pod.Spec.Containers, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}, true, ready)
	if b.life.restarts > 0 {
		b.status.ContainerStatuses[0].LastTerminationState = b.terminated(exitCode(b.pod))
	}
	b.conditions(true, ready)
	return b.status
}

func (b building) backingOff() *corev1.PodStatus {
	b.running(true)
	first := &b.status.ContainerStatuses[0]
	started := false
	first.Ready, first.Started = false, &started
	first.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off 10s restarting failed container=%s pod=%s_%s(%s)",
			first.Name, b.pod.Name, b.pod.Namespace, b.pod.UID),
	}}
	first.LastTerminationState = b.terminated(exitCode(b.pod))
	b.conditions(true, false)
	return b.status
}

func (b building) ended(code int32, at time.Time) *corev1.PodStatus {
	b.life.ended = at
	b.running(false)
	b.status.Phase = corev1.PodSucceeded
	if code != 0 {
		b.status.Phase = corev1.PodFailed
	}
	for i := range b.status.ContainerStatuses {
		one, started := &b.status.ContainerStatuses[i], false
		one.State, one.Ready, one.Started = b.terminated(code), false, &started
	}
	b.conditions(true, false)
	for i := range b.status.Conditions {
		if one := &b.status.Conditions[i]; one.Type == corev1.PodReady || one.Type == corev1.ContainersReady {
			one.Reason, one.Message = "PodCompleted", ""
		}
	}
	return b.status
}

func (b building) terminated(code int32) corev1.ContainerState {
	reason := "Error"
	switch code {
	case 0:
		reason = "Completed"
	case 137:
		reason = "OOMKilled"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason,
		StartedAt:   metav1.NewTime(b.life.started.Truncate(time.Second)),
		FinishedAt:  metav1.NewTime(b.life.ended.Truncate(time.Second)),
		ContainerID: b.containerID(b.pod.Spec.Containers[0].Name, b.life.restarts),
	}}
}

func (b building) address() {
	b.status.PodIP, b.status.PodIPs = b.life.ip, []corev1.PodIP{{IP: b.life.ip}}
	if b.pod.Spec.HostNetwork {
		b.status.PodIP, b.status.PodIPs = "127.0.0.1", []corev1.PodIP{{IP: "127.0.0.1"}}
	}
}

// inits have all done their work, but for those that go on beside the others.
func (b building) inits() {
	at := metav1.NewTime(b.life.started.Truncate(time.Second))
	b.status.InitContainerStatuses = b.each(b.pod.Spec.InitContainers, corev1.ContainerState{}, true, true)
	for i := range b.status.InitContainerStatuses {
		one := &b.status.InitContainerStatuses[i]
		if always := b.pod.Spec.InitContainers[i].RestartPolicy; always != nil && *always == corev1.ContainerRestartPolicyAlways {
			one.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}
			continue
		}
		one.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: at, FinishedAt: at, ContainerID: one.ContainerID,
		}}
	}
}

func (b building) each(containers []corev1.Container, state corev1.ContainerState, created, ready bool) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for i, container := range containers {
		started := created
		one := corev1.ContainerStatus{Name: container.Name, Image: container.Image, State: state, Ready: ready, Started: &started}
		if i == 0 {
			one.RestartCount = b.life.restarts
		}
		if created {
			one.Image, one.ImageID = imageID(container.Image)
			one.ContainerID = b.containerID(container.Name, one.RestartCount)
		}
		all = append(all, one)
	}
	return all
}

func (b building) containerID(name string, restarts int32) string {
	return "containerd://" + digest(fmt.Sprintf("%s/%s/%d", b.pod.UID, name, restarts))
}

func (b building) conditions(initialized, ready bool) {
	var unready []string
	for _, one := range b.status.ContainerStatuses {
		if !one.Ready {
			unready = append(unready, one.Name)
		}
	}
	reason, message := "", ""
	if !ready {
		reason, message = "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	b.condition(corev1.PodReadyToStartContainers, b.status.Phase != corev1.PodPending, "", "")
	b.condition(corev1.PodInitialized, initialized, "", "")
	b.condition(corev1.ContainersReady, ready, reason, message)
	b.condition(corev1.PodReady, ready, reason, message)
}

// condition sets one, keeping the time at which it last changed.
func (b building) condition(kind corev1.PodConditionType, holds bool, reason, message string) {
	value := corev1.ConditionFalse
	if holds {
		value = corev1.ConditionTrue
	}
	for i := range b.status.Conditions {
		one := &b.status.Conditions[i]
		if one.Type != kind {
			continue
		}
		if one.Status != value {
			one.Status, one.LastTransitionTime = value, b.now
		}
		one.Reason, one.Message = reason, message
		return
	}
	b.status.Conditions = append(b.status.Conditions, corev1.PodCondition{
		Type: kind, Status: value, Reason: reason, Message: message, LastTransitionTime: b.now,
		ObservedGeneration: b.pod.Generation,
	})
}

// imageID is an image's full name and its digest, which is the same wherever the name is.
func imageID(image string) (name, id string) {
	name, pinned, found := strings.Cut(image, "@")
	if first, rest, ok := strings.Cut(name, "/"); !ok {
		name = "docker.io/library/" + name
	} else if !strings.ContainsAny(first, ".:") && first != "localhost" {
		name = "docker.io/" + first + "/" + rest
	}
	bare := name
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		bare = name[:colon]
	} else {
		name += ":latest"
	}
	if !found {
		pinned = "sha256:" + digest(name)
	}
	return name, bare + "@" + pinned
}

func digest(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:])
}
