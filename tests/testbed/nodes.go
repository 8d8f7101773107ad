package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"
	utilversion "k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

// firstNode is there from the start and has the one GPU.
const firstNode = "gpu-1"

// nodeSpec is what a node is asked to be.
type nodeSpec struct {
	Name   string            `json:"name"`
	GPUs   int64             `json:"gpus"`
	CPU    string            `json:"cpu"`
	Memory string            `json:"memory"`
	Labels map[string]string `json:"labels"`
	Taints []corev1.Taint    `json:"taints"`
}

// nodes keeps the leases of the nodes it plays.
type nodes struct {
	bed *bed
	// The port of the one kubelet that answers for all of them.
	kubeletPort int32

	lister listers.NodeLister

	mu    sync.Mutex
	known map[string]*node
}

type node struct {
	number int
	gone   bool
	pods   int
}

func newNodes(b *bed) *nodes {
	n := &nodes{bed: b, known: map[string]*node{}, lister: b.shared.Core().V1().Nodes().Lister()}
	go func() {
		for {
			time.Sleep(heartbeat)
			n.beat()
		}
	}()
	return n
}

// add makes a node, ready from the start.
func (n *nodes) add(ctx context.Context, spec nodeSpec) error {
	if spec.CPU == "" {
		spec.CPU = "16"
	}
	if spec.Memory == "" {
		spec.Memory = "64Gi"
	}
	resources := corev1.ResourceList{
		corev1.ResourcePods:             resource.MustParse("110"),
		corev1.ResourceEphemeralStorage: resource.MustParse("200Gi"),
	}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: spec.CPU, corev1.ResourceMemory: spec.Memory} {
		quantity, err := resource.ParseQuantity(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		resources[name] = quantity
	}
	labels := map[string]string{
		"kubernetes.io/hostname": spec.Name,
		"kubernetes.io/os":       "linux",
		"kubernetes.io/arch":     "amd64",
	}
	if spec.GPUs > 0 {
		resources["nvidia.com/gpu"] = *resource.NewQuantity(spec.GPUs, resource.DecimalSI)
		labels["nvidia.com/gpu.present"] = "true"
		labels["nvidia.com/gpu.count"] = fmt.Sprint(spec.GPUs)
		labels["nvidia.com/gpu.product"] = "NVIDIA-GeForce-RTX-3070"
	}
	for key, value := range spec.Labels {
		labels[key] = value
	}
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: spec.Name, Labels: labels}, Spec: corev1.NodeSpec{Taints: spec.Taints}}
	if _, err := n.bed.client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	version := utilversion.Get().GitVersion
	status := corev1.NodeStatus{
		Capacity:    resources,
		Allocatable: resources,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: spec.Name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: n.kubeletPort}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: digest(spec.Name)[:32], BootID: digest(spec.Name + "boot")[:32], KernelVersion: "6.12.0",
			OSImage: "testbed", ContainerRuntimeVersion: "containerd://2.1.0", KubeletVersion: version,
			OperatingSystem: "linux", Architecture: "amd64",
		},
		Conditions: nodeConditions(metav1.Now()),
	}
	if err := n.patch(ctx, spec.Name, status); err != nil {
		return err
	}
	n.mu.Lock()
	n.known[spec.Name] = &node{number: len(n.known)}
	n.mu.Unlock()
	n.beat()
	return nil
}

func nodeConditions(now metav1.Time) []corev1.NodeCondition {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message,
			LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeMemoryPressure, "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(corev1.NodeDiskPressure, "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(corev1.NodePIDPressure, "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		condition(corev1.NodeReady, "True", "KubeletReady", "kubelet is posting ready status"),
	}
}

// beat renews the leases of the nodes that are there.
func (n *nodes) beat() {
	n.mu.Lock()
	var present []string
	for name, one := range n.known {
		if !one.gone {
			present = append(present, name)
		}
	}
	n.mu.Unlock()
	for _, name := range present {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if err := n.renew(ctx, name); err != nil {
			klog.ErrorS(err, "a lease was not renewed", "node", name)
		}
		// On a machine so loaded that a heartbeat came too late, the controllers took the node for gone; as a kubelet
		// would, say that it is not.
		if object, err := n.lister.Get(name); err == nil && !isReady(object) {
			if err := n.patch(ctx, name, corev1.NodeStatus{Conditions: nodeConditions(metav1.Now())}); err != nil {
				klog.ErrorS(err, "a node could not say that it is there", "node", name)
			}
		}
		cancel()
	}
}

func isReady(object *corev1.Node) bool {
	return slices.ContainsFunc(object.Status.Conditions, func(one corev1.NodeCondition) bool {
		return one.Type == corev1.NodeReady && one.Status == corev1.ConditionTrue
	})
}

func (n *nodes) renew(ctx context.Context, name string) error {
	leases := n.bed.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, seconds := metav1.NewMicroTime(time.Now()), int32(40)
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		return err
	} else if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// lose switches a node off: no heartbeat, no status, no logs, no exec. The controllers notice after nodeGrace.
func (n *nodes) lose(name string) error { return n.set(name, true) }

// back switches it on again.
func (n *nodes) back(ctx context.Context, name string) error {
	if err := n.set(name, false); err != nil {
		return err
	}
	n.beat()
	n.bed.pods.all()
	return n.patch(ctx, name, corev1.NodeStatus{Conditions: nodeConditions(metav1.Now())})
}

// patch cannot conflict with the controllers, which change the same object.
func (n *nodes) patch(ctx context.Context, name string, status corev1.NodeStatus) error {
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = n.bed.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}

func (n *nodes) set(name string, gone bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.known[name]
	if one == nil {
		return fmt.Errorf("there is no node `%s`", name)
	}
	one.gone = gone
	return nil
}

// remove deletes a node.
func (n *nodes) remove(ctx context.Context, name string) error {
	n.mu.Lock()
	delete(n.known, name)
	n.mu.Unlock()
	return n.bed.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
}

// present says whether a node is played here and switched on.
func (n *nodes) present(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.known[name]
	return one != nil && !one.gone
}

// address is that of the next pod of a node.
func (n *nodes) address(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.known[name]
	if one == nil {
		return ""
	}
	one.pods++
	return fmt.Sprintf("10.42.%d.%d", one.number*16+one.pods/250, one.pods%250+2)
}
