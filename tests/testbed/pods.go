package main

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// pods plays the kubelet's part in the life of every pod that the scheduler has bound to a node of ours.
//
// Each pod is looked at when it changes and when it asked to be; the status it should have follows from its spec, the
// failure it was told and what has happened to it so far, and is written where it differs.
type pods struct {
	bed    *bed
	lister listers.PodLister
	queue  workqueue.TypedRateLimitingInterface[string]

	mu    sync.Mutex
	lives map[types.UID]*life
}

// life is what has happened to one pod.
type life struct {
	ip      string
	seen    time.Time
	started time.Time
	// When the running container goes down, or the next one comes up, in a crash loop; when the next pull is due.
	next     time.Time
	down     bool
	ended    time.Time
	restarts int32
	// What was last told in an event, so that it is told once.
	told string
}

// Times of a played crash loop: short, so that a test sees restarts rise.
const (
	crashAfter   = 400 * time.Millisecond
	crashBackoff = 600 * time.Millisecond
	// How often a pod that waits for something looks whether it has come.
	lookAgain = 300 * time.Millisecond
	workers   = 8
)

func newPods(b *bed) *pods {
	informer := b.shared.Core().V1().Pods()
	p := &pods{
		bed:    b,
		lister: informer.Lister(),
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
		lives:  map[types.UID]*life{},
	}
	add := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			p.queue.Add(key)
		}
	}
	informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
		DeleteFunc: func(object any) {
			if pod, ok := object.(*corev1.Pod); ok {
				p.mu.Lock()
				delete(p.lives, pod.UID)
				p.mu.Unlock()
			}
		},
	})
	// What `missing` looks for.
	b.shared.Core().V1().ConfigMaps().Informer()
	b.shared.Core().V1().Secrets().Informer()
	b.rules.onChange(p.all)
	return p
}

func (p *pods) start() {
	for range workers {
		go func() {
			for {
				key, stop := p.queue.Get()
				if stop {
					return
				}
				again, err := p.look(key)
				switch {
				case err != nil:
					klog.ErrorS(err, "a pod could not be played", "pod", key)
					p.queue.AddRateLimited(key)
				case again > 0:
					p.queue.Forget(key)
					p.queue.AddAfter(key, again)
				default:
					p.queue.Forget(key)
				}
				p.queue.Done(key)
			}
		}()
	}
}

// all looks at every pod again.
func (p *pods) all() {
	found, _ := p.lister.List(labels.Everything())
	for _, pod := range found {
		p.queue.Add(pod.Namespace + "/" + pod.Name)
	}
}

func (p *pods) life(pod *corev1.Pod) *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.lives[pod.UID]
	if one == nil {
		one = &life{ip: p.bed.nodes.address(pod.Spec.NodeName), seen: time.Now()}
		p.lives[pod.UID] = one
	}
	return one
}

// look brings one pod forward and says when it wants to be looked at again.
func (p *pods) look(key string) (time.Duration, error) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return 0, err
	}
	pod, err := p.lister.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if pod.Spec.NodeName == "" || !p.bed.nodes.present(pod.Spec.NodeName) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	how := p.bed.rules.failure("Pod", pod)
	if pod.DeletionTimestamp != nil {
		return 0, p.end(ctx, pod, how)
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0, nil
	}
	one := p.life(pod)
	status, again := p.bed.desired(pod, one, how, time.Now())
	if equality.Semantic.DeepEqual(status, &pod.Status) {
		return again, nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"status":   status,
	})
	if err != nil {
		return 0, err
	}
	_, err = p.bed.client.CoreV1().Pods(namespace).Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	// Who changed it meanwhile has put it into the queue.
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return again, nil
	}
	return again, err
}

// end stops the containers at once and lets the object go.
func (p *pods) end(ctx context.Context, pod *corev1.Pod, how string) error {
	if how == stuck {
		return nil
	}
	now := int64(0)
	err := p.bed.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// tell writes an event, once per life and wording.
func (p *pods) tell(pod *corev1.Pod, one *life, kind, reason, message string) {
	if said := reason + message; one.told != said {
		one.told = said
		p.bed.events.Event(pod, kind, reason, message)
	}
}

func delay(pod *corev1.Pod) time.Duration {
	for_, err := time.ParseDuration(pod.Annotations[delayKey])
	if err != nil {
		return 0
	}
	return for_
}

func exitCode(pod *corev1.Pod) int32 {
	code, err := strconv.ParseInt(pod.Annotations[exitCodeKey], 10, 32)
	if err != nil {
		return 1
	}
	return int32(code)
}
