package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// serveControl answers what tests ask for, in JSON over plain HTTP on loopback. README.md lists it.
func (b *bed) serveControl() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.control = "http://" + listener.Addr().String()
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := answer(r)
			// What is left unread would reset the connection when it is closed, and the answer would be lost.
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				result = map[string]string{"error": err.Error()}
			}
			if result == nil {
				result = struct{}{}
			}
			json.NewEncoder(w).Encode(result)
		})
	}

	handle("POST /users", b.addUser)
	handle("POST /nodes", func(r *http.Request) (any, error) {
		spec, err := read[nodeSpec](r)
		if err == nil {
			err = b.nodes.add(r.Context(), spec)
		}
		return nil, err
	})
	handle("DELETE /nodes/{node}", func(r *http.Request) (any, error) {
		return nil, b.nodes.remove(r.Context(), r.PathValue("node"))
	})
	handle("POST /nodes/{node}/gone", func(r *http.Request) (any, error) { return nil, b.nodes.lose(r.PathValue("node")) })
	handle("POST /nodes/{node}/back", func(r *http.Request) (any, error) {
		return nil, b.nodes.back(r.Context(), r.PathValue("node"))
	})
	handle("POST /rules", func(r *http.Request) (any, error) {
		asked, err := read[rule](r)
		if err != nil {
			return nil, err
		}
		return b.rules.add(asked)
	})
	handle("DELETE /rules/{id}", func(r *http.Request) (any, error) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err == nil && !b.rules.remove(id) {
			err = fmt.Errorf("there is no rule %d", id)
		}
		return nil, err
	})
	handle("POST /server/restart", func(r *http.Request) (any, error) { return nil, b.server.restart(r.Context()) })
	handle("POST /fronts/{front}", b.addFront)
	onFront := func(pattern string, answer func(f *front, r *http.Request) (any, error)) {
		handle(pattern, func(r *http.Request) (any, error) {
			f := b.front(r.PathValue("front"))
			if f == nil {
				return nil, fmt.Errorf("there is no front `%s`", r.PathValue("front"))
			}
			return answer(f, r)
		})
	}
	onFront("POST /fronts/{front}/faults", func(f *front, r *http.Request) (any, error) {
		asked, err := read[fault](r)
		if err != nil {
			return nil, err
		}
		return f.addFault(asked)
	})
	onFront("DELETE /fronts/{front}/faults/{id}", func(f *front, r *http.Request) (any, error) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err == nil {
			f.clear(id)
		}
		return nil, err
	})
	onFront("DELETE /fronts/{front}/faults", func(f *front, _ *http.Request) (any, error) { f.clear(0); return nil, nil })
	onFront("GET /fronts/{front}/requests", func(f *front, r *http.Request) (any, error) {
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		return f.requests(after, r.URL.Query().Get("words")), nil
	})
	onFront("POST /fronts/{front}/down", func(f *front, _ *http.Request) (any, error) { f.down(); return nil, nil })
	onFront("POST /fronts/{front}/up", func(f *front, _ *http.Request) (any, error) { return nil, f.up() })
	onFront("POST /fronts/{front}/cut", func(f *front, _ *http.Request) (any, error) { f.cut(); return nil, nil })

	server := &http.Server{Handler: mux}
	b.run("the control endpoint", func() error { return server.Serve(listener) })
	return nil
}

// read takes a body in, in which nothing unknown may stand.
func read[T any](r *http.Request) (T, error) {
	var asked T
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&asked)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return asked, err
}

// addUser makes a client certificate and the kubeconfig for it. What the user may do is for RBAC to say.
func (b *bed) addUser(r *http.Request) (any, error) {
	asked, err := read[struct {
		Name      string   `json:"name"`
		Groups    []string `json:"groups"`
		ExpiresIn *int     `json:"expires_in_s"`
		Front     string   `json:"front"`
	}](r)
	if err != nil {
		return nil, err
	}
	lasts := day
	if asked.ExpiresIn != nil {
		lasts = time.Duration(*asked.ExpiresIn) * time.Second
	}
	client, err := b.ca.issue(asked.Name, asked.Groups, lasts)
	if err != nil {
		return nil, err
	}
	if asked.Front == "" {
		asked.Front = "main"
	}
	front := b.front(asked.Front)
	if front == nil {
		return nil, fmt.Errorf("there is no front `%s`", asked.Front)
	}
	b.mu.Lock()
	b.users++
	path := b.path(fmt.Sprintf("user-%d.kubeconfig", b.users))
	b.mu.Unlock()
	return map[string]string{"kubeconfig": path}, writeKubeconfig(path, front.url(), asked.Name, b.ca.pem, client)
}

var frontName = regexp.MustCompile(`^[a-z0-9-]{1,60}$`)

// addFront opens a front and writes the administrator's kubeconfig for it.
func (b *bed) addFront(r *http.Request) (any, error) {
	name := r.PathValue("front")
	if !frontName.MatchString(name) {
		return nil, fmt.Errorf("the name of a front is of lower case letters, digits and dashes; not `%s`", name)
	}
	f, err := b.openFront(name)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.LoadFromFile(b.path("kubeconfig"))
	if err != nil {
		return nil, err
	}
	config.Clusters["testbed"].Server = f.url()
	path := b.path("front-" + name + ".kubeconfig")
	return map[string]string{"kubeconfig": path, "server": f.url()}, clientcmd.WriteToFile(*config, path)
}
