package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// The annotations by which load balancers are asked for an address, newest names first; `spec.loadBalancerIP` is as good.
var addressKeys = []string{
	"metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs", "kube-vip.io/loadbalancerIPs", "lbipam.cilium.io/ips",
}

// Services that name the same key here may share an address.
var sharingKeys = []string{"metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip", "lbipam.cilium.io/sharing-key"}

// poolStart is the first address given to a Service that asks for none: TEST-NET-2 of RFC 5737.
var poolStart = netip.MustParseAddr("198.51.100.10")

// balancer plays a MetalLB: an address that somebody else has is not given twice.
type balancer struct {
	bed    *bed
	events record.EventRecorder
	mu     sync.Mutex
	held   map[types.UID]holding
}

type holding struct{ address, sharing string }

func (b *bed) playServices() {
	l := &balancer{bed: b, events: b.events, held: map[types.UID]holding{}}
	informer := b.shared.Core().V1().Services()
	look := func(object any) {
		if service, ok := object.(*corev1.Service); ok {
			if err := l.look(service); err != nil {
				klog.ErrorS(err, "a service got no address", "service", klog.KObj(service))
			}
		}
	}
	all := func() {
		found, _ := informer.Lister().List(labels.Everything())
		for _, service := range found {
			look(service)
		}
	}
	informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    look,
		UpdateFunc: func(_, object any) { look(object) },
		DeleteFunc: func(object any) {
			if service, ok := object.(*corev1.Service); ok {
				l.mu.Lock()
				delete(l.held, service.UID)
				l.mu.Unlock()
				// Who waits for its address can have it.
				go all()
			}
		},
	})
	b.rules.onChange(all)
}

func (l *balancer) look(service *corev1.Service) error {
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.DeletionTimestamp != nil {
		l.mu.Lock()
		delete(l.held, service.UID)
		l.mu.Unlock()
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer && len(service.Status.LoadBalancer.Ingress) > 0 {
			return l.write(service, nil)
		}
		return nil
	}
	address := l.choose(service)
	has := ""
	if given := service.Status.LoadBalancer.Ingress; len(given) > 0 {
		has = given[0].IP
	}
	if address == has {
		return nil
	}
	if address == "" {
		return l.write(service, nil)
	}
	mode := corev1.LoadBalancerIPModeVIP
	l.events.Event(service, corev1.EventTypeNormal, "IPAllocated", fmt.Sprintf("Assigned IP [\"%s\"]", address))
	return l.write(service, []corev1.LoadBalancerIngress{{IP: address, IPMode: &mode}})
}

// choose is the address that a Service should have now; none when it has to wait.
func (l *balancer) choose(service *corev1.Service) string {
	how := l.bed.rules.failure("Service", service)
	if other, ok := strings.CutPrefix(how, otherAddress); ok {
		return other
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if how == pending {
		delete(l.held, service.UID)
		return ""
	}
	sharing := first(service.Annotations, sharingKeys)
	pinned := first(service.Annotations, addressKeys)
	if pinned == "" {
		pinned = service.Spec.LoadBalancerIP
	}
	pinned, _, _ = strings.Cut(pinned, ",")
	if pinned != "" {
		if l.taken(service.UID, pinned, sharing) {
			delete(l.held, service.UID)
			l.events.Event(service, corev1.EventTypeWarning, "AllocationFailed", fmt.Sprintf(
				"Failed to allocate IP for \"%s/%s\": can't change sharing key for \"%s/%s\", address also in use by another service",
				service.Namespace, service.Name, service.Namespace, service.Name))
			return ""
		}
		l.held[service.UID] = holding{pinned, sharing}
		return pinned
	}
	if mine, ok := l.held[service.UID]; ok {
		return mine.address
	}
	for address := poolStart; ; address = address.Next() {
		if text := address.String(); !l.taken(service.UID, text, sharing) {
			l.held[service.UID] = holding{text, sharing}
			return text
		}
	}
}

func (l *balancer) taken(by types.UID, address, sharing string) bool {
	for uid, other := range l.held {
		if uid != by && other.address == address && (sharing == "" || other.sharing != sharing) {
			return true
		}
	}
	return false
}

func (l *balancer) write(service *corev1.Service, ingress []corev1.LoadBalancerIngress) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": service.UID},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": ingress}},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = l.bed.client.CoreV1().Services(service.Namespace).Patch(ctx, service.Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func first(annotations map[string]string, keys []string) string {
	if at := slices.IndexFunc(keys, func(key string) bool { return annotations[key] != "" }); at >= 0 {
		return annotations[keys[at]]
	}
	return ""
}
