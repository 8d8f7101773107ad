package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	provisioner     = "rancher.io/local-path"
	provisionerKey  = "volume.kubernetes.io/storage-provisioner"
	selectedNodeKey = "volume.kubernetes.io/selected-node"
	provisionedKey  = "pv.kubernetes.io/provisioned-by"
)

// classes makes what a k3s with NVIDIA's operator has: the storage class `local-path`, which waits for the first pod,
// and the RuntimeClass `nvidia`; and a second class, `immediate`, which does not wait.
func (b *bed) classes(ctx context.Context) error {
	wait, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	for _, class := range []*storagev1.StorageClass{
		{
			ObjectMeta: metav1.ObjectMeta{
				Name:        "local-path",
				Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
			},
			Provisioner: provisioner, VolumeBindingMode: &wait,
		},
		{ObjectMeta: metav1.ObjectMeta{Name: "immediate"}, Provisioner: provisioner, VolumeBindingMode: &now},
	} {
		if _, err := b.client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	runtime := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "nvidia"}, Handler: "nvidia"}
	_, err := b.client.NodeV1().RuntimeClasses().Create(ctx, runtime, metav1.CreateOptions{})
	return err
}

// playVolumes makes the volume that a claim waits for, on the node that the scheduler has chosen, and removes it when
// its claim is gone. Binding is the work of the real controller.
func (b *bed) playVolumes() {
	claims := b.shared.Core().V1().PersistentVolumeClaims()
	claim := func(object any) {
		if claim, ok := object.(*corev1.PersistentVolumeClaim); ok {
			if err := b.provision(claim); err != nil {
				klog.ErrorS(err, "a claim got no volume", "claim", klog.KObj(claim))
			}
		}
	}
	claims.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    claim,
		UpdateFunc: func(_, object any) { claim(object) },
	})
	b.rules.onChange(func() {
		found, _ := claims.Lister().List(labels.Everything())
		for _, one := range found {
			claim(one)
		}
	})
	volume := func(object any) {
		if volume, ok := object.(*corev1.PersistentVolume); ok {
			if err := b.reclaim(volume); err != nil {
				klog.ErrorS(err, "a volume was not removed", "volume", volume.Name)
			}
		}
	}
	b.shared.Core().V1().PersistentVolumes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    volume,
		UpdateFunc: func(_, object any) { volume(object) },
	})
}

func (b *bed) provision(claim *corev1.PersistentVolumeClaim) error {
	if claim.Annotations[provisionerKey] != provisioner || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	if b.rules.failure("PersistentVolumeClaim", claim) == pending {
		b.events.Event(claim, corev1.EventTypeWarning, "ProvisioningFailed",
			"failed to provision volume with StorageClass: no space left on the device")
		return nil
	}
	node := claim.Annotations[selectedNodeKey]
	if node == "" {
		node = firstNode
	}
	policy := corev1.PersistentVolumeReclaimDelete
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if class := claim.Spec.StorageClassName; class != nil {
		found, err := b.client.StorageV1().StorageClasses().Get(ctx, *class, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if found.ReclaimPolicy != nil {
			policy = *found.ReclaimPolicy
		}
	}
	class := ""
	if claim.Spec.StorageClassName != nil {
		class = *claim.Spec.StorageClassName
	}
	name := "pvc-" + string(claim.UID)
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedKey: provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{
				Path: fmt.Sprintf("/opt/local-path-provisioner/%s_%s_%s", name, claim.Namespace, claim.Name),
			}},
			ClaimRef: &corev1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: "kubernetes.io/hostname", Operator: corev1.NodeSelectorOpIn, Values: []string{node},
				}},
			}}}},
		},
	}
	_, err := b.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (b *bed) reclaim(volume *corev1.PersistentVolume) error {
	if volume.Annotations[provisionedKey] != provisioner || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || volume.DeletionTimestamp != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := b.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
