package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// missing is the first thing a pod refers to that is not there, as the kubelet would put it: the reason FailedMount
// for a volume, which leaves the pod in ContainerCreating, or CreateContainerConfigError for a variable.
func (b *bed) missing(pod *corev1.Pod) (reason, message string) {
	for _, volume := range pod.Spec.Volumes {
		var name, what string
		switch {
		case volume.ConfigMap != nil && !optional(volume.ConfigMap.Optional):
			if _, ok := b.keys("configmap", pod.Namespace, volume.ConfigMap.Name); !ok {
				name, what = volume.ConfigMap.Name, "configmap"
			}
		case volume.Secret != nil && !optional(volume.Secret.Optional):
			if _, ok := b.keys("secret", pod.Namespace, volume.Secret.SecretName); !ok {
				name, what = volume.Secret.SecretName, "secret"
			}
		}
		if name != "" {
			return "FailedMount", fmt.Sprintf("MountVolume.SetUp failed for volume \"%s\" : %s \"%s\" not found", volume.Name, what, name)
		}
	}
	for _, container := range pod.Spec.Containers {
		for _, source := range container.EnvFrom {
			if from := source.ConfigMapRef; from != nil && !optional(from.Optional) {
				if message := b.lacks(pod, "configmap", from.Name, ""); message != "" {
					return "CreateContainerConfigError", message
				}
			}
			if from := source.SecretRef; from != nil && !optional(from.Optional) {
				if message := b.lacks(pod, "secret", from.Name, ""); message != "" {
					return "CreateContainerConfigError", message
				}
			}
		}
		for _, variable := range container.Env {
			if variable.ValueFrom == nil {
				continue
			}
			if from := variable.ValueFrom.ConfigMapKeyRef; from != nil && !optional(from.Optional) {
				if message := b.lacks(pod, "configmap", from.Name, from.Key); message != "" {
					return "CreateContainerConfigError", message
				}
			}
			if from := variable.ValueFrom.SecretKeyRef; from != nil && !optional(from.Optional) {
				if message := b.lacks(pod, "secret", from.Name, from.Key); message != "" {
					return "CreateContainerConfigError", message
				}
			}
		}
	}
	return "", ""
}

func optional(said *bool) bool { return said != nil && *said }

func (b *bed) lacks(pod *corev1.Pod, what, name, key string) string {
	keys, ok := b.keys(what, pod.Namespace, name)
	switch {
	case !ok:
		return fmt.Sprintf("%s \"%s\" not found", what, name)
	case key != "" && !keys[key]:
		title := map[string]string{"configmap": "ConfigMap", "secret": "Secret"}[what]
		return fmt.Sprintf("couldn't find key %s in %s %s/%s", key, title, pod.Namespace, name)
	}
	return ""
}

// keys are those of a ConfigMap or Secret, if it is there.
func (b *bed) keys(what, namespace, name string) (map[string]bool, bool) {
	keys := map[string]bool{}
	if what == "secret" {
		found, err := b.shared.Core().V1().Secrets().Lister().Secrets(namespace).Get(name)
		if err != nil {
			return nil, false
		}
		for key := range found.Data {
			keys[key] = true
		}
		return keys, true
	}
	found, err := b.shared.Core().V1().ConfigMaps().Lister().ConfigMaps(namespace).Get(name)
	if err != nil {
		return nil, false
	}
	for key := range found.Data {
		keys[key] = true
	}
	for key := range found.BinaryData {
		keys[key] = true
	}
	return keys, true
}
