package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What an object can ask for by an annotation; for pods it stands in the template. README.md has the list.
const (
	prefix       = "testbed.runner/"
	failKey      = prefix + "fail"
	delayKey     = prefix + "delay"
	exitCodeKey  = prefix + "exit-code"
	logsKey      = prefix + "logs"
	execKey      = prefix + "exec"
	refuseLabel  = prefix + "refuse"
	imagePull    = "image-pull"
	crashLoop    = "crash-loop"
	neverReady   = "never-ready"
	creating     = "creating"
	stuck        = "stuck"
	pending      = "pending"
	otherAddress = "address="
)

// failures says what each kind can be told to do.
var failures = map[string][]string{
	"Pod":                   {imagePull, crashLoop, neverReady, creating, stuck},
	"Service":               {pending, otherAddress},
	"PersistentVolumeClaim": {pending},
}

// rule makes objects fail that carry no annotation: those of a namespace whose name begins so.
type rule struct {
	ID        int    `json:"id"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Fail      string `json:"fail"`
}

type rules struct {
	mu      sync.Mutex
	all     []rule
	next    int
	changed []func()
}

// add takes a rule in, or says what is wrong with it.
func (r *rules) add(added rule) (rule, error) {
	known, ok := failures[added.Kind]
	if !ok {
		return rule{}, fmt.Errorf("`kind` is one of Pod, Service, PersistentVolumeClaim; not `%s`", added.Kind)
	}
	if !slices.ContainsFunc(known, func(how string) bool { return strings.HasPrefix(added.Fail, how) }) {
		return rule{}, fmt.Errorf("a %s fails by one of %s; not `%s`", added.Kind, strings.Join(known, ", "), added.Fail)
	}
	if added.Namespace == "" {
		return rule{}, fmt.Errorf("a rule has a `namespace`")
	}
	r.mu.Lock()
	r.next++
	added.ID = r.next
	r.all = append(r.all, added)
	r.mu.Unlock()
	r.tell()
	return added, nil
}

// remove takes a rule out again; what failed by it recovers.
func (r *rules) remove(id int) bool {
	r.mu.Lock()
	before := len(r.all)
	r.all = slices.DeleteFunc(r.all, func(one rule) bool { return one.ID == id })
	found := len(r.all) < before
	r.mu.Unlock()
	r.tell()
	return found
}

// onChange registers who has to look again; before anything runs.
func (r *rules) onChange(look func()) { r.changed = append(r.changed, look) }

func (r *rules) tell() {
	for _, look := range r.changed {
		look()
	}
}

// failure is what this object has been told to do.
func (r *rules) failure(kind string, object metav1.Object) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.all {
		if one.Kind == kind && one.Namespace == object.GetNamespace() && strings.HasPrefix(object.GetName(), one.Name) {
			return one.Fail
		}
	}
	return object.GetAnnotations()[failKey]
}
