package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// front stands before the API server and does to its clients what bad days do: answers for it, delays, stalls, cuts
// connections, loses answers, is not there. A test that needs one of these opens a front of its own, so that it
// disturbs nobody else. Clients authenticate as they would with the server itself: certificates are checked here and
// handed on as the server's request headers, tokens pass through.
type front struct {
	name    string
	address string
	bed     *bed
	server  *http.Server
	// One for who showed a certificate, one for everybody else.
	known, plain *httputil.ReverseProxy

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	faults   []*fault
	nextID   int
	seen     []request
	total    int
}

// fault is what happens to the requests that match.
type fault struct {
	ID int `json:"id"`
	// Matches all when empty: the method, a part of the path with its query, a part of the user agent.
	Method    string `json:"method"`
	Path      string `json:"path"`
	UserAgent string `json:"user_agent"`
	// How many matching requests pass first, and how many are hit after that; 0 is all of them.
	After int `json:"after"`
	Times int `json:"times"`
	// One of answer, stall, delay, cut, lose.
	Do string `json:"do"`
	// answer: the status.
	Code        int    `json:"code"`
	Reason      string `json:"reason"`
	Message     string `json:"message"`
	RetryAfterS int    `json:"retry_after_s"`
	DelayMS     int    `json:"delay_ms"`

	matched int
	Hit     int `json:"hit"`
	gone    chan struct{}
}

// request is one line of what a front has seen.
type request struct {
	Number    int    `json:"number"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	User      string `json:"user"`
	UserAgent string `json:"user_agent"`
	// 0 while it runs, or when its connection was cut.
	Code int `json:"code"`
}

// seenLimit is how many requests a front remembers: those of the largest test, several times.
const seenLimit = 20_000

type connKey struct{}

// openFront starts one on a free port, or gives the one with this name.
func (b *bed) openFront(name string) (*front, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.fronts[name]; f != nil {
		return f, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{name: name, bed: b, address: listener.Addr().String(), conns: map[net.Conn]struct{}{}}
	serving, err := tls.LoadX509KeyPair(b.path("serving.crt"), b.path("serving.key"))
	if err != nil {
		return nil, err
	}
	proxy, err := tls.LoadX509KeyPair(b.path("front.crt"), b.path("front.key"))
	if err != nil {
		return nil, err
	}
	f.known = f.proxy([]tls.Certificate{proxy})
	f.plain = f.proxy(nil)
	f.server = &http.Server{
		Handler:   f,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}},
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: f.track,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	f.serve(listener)
	b.fronts[name] = f
	return f, nil
}

func (f *front) url() string { return "https://" + f.address }

func (f *front) serve(listener net.Listener) {
	f.mu.Lock()
	f.listener = listener
	f.mu.Unlock()
	go f.server.ServeTLS(listener, "", "")
}

// proxy leads to the server. HTTP/1.1 towards it, whatever the client speaks, because upgrades need it.
func (f *front) proxy(certs []tls.Certificate) *httputil.ReverseProxy {
	upstream, err := url.Parse(f.bed.upstream)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: f.bed.ca.pool(), Certificates: certs},
			TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
			MaxIdleConnsPerHost: 256,
			DisableCompression:  true,
		},
	}
}

func (f *front) track(conn net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch state {
	case http.StateNew:
		f.conns[conn] = struct{}{}
	case http.StateClosed:
		delete(f.conns, conn)
	// An upgraded connection is the handler's; it stays in the list so that a cut reaches it.
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// cut ends every connection at once, in the middle of whatever it carries.
func (f *front) cut() {
	f.mu.Lock()
	conns := f.conns
	f.conns = map[net.Conn]struct{}{}
	f.mu.Unlock()
	for conn := range conns {
		reset(conn)
	}
}

// reset closes a connection as a machine does that has lost its power and come back.
func reset(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// down refuses connections, as a server does that is being restarted, until up.
func (f *front) down() {
	f.mu.Lock()
	listener := f.listener
	f.listener = nil
	f.mu.Unlock()
	if listener != nil {
		listener.Close()
	}
	f.cut()
}

func (f *front) up() error {
	f.mu.Lock()
	running := f.listener != nil
	f.mu.Unlock()
	if running {
		return nil
	}
	listener, err := net.Listen("tcp", f.address)
	if err == nil {
		f.serve(listener)
	}
	return err
}

func (f *front) addFault(added fault) (*fault, error) {
	switch added.Do {
	case "answer", "stall", "delay", "cut", "lose":
	default:
		return nil, fmt.Errorf("`do` is one of answer, stall, delay, cut, lose; not `%s`", added.Do)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nextID++
	added.ID, added.gone = f.nextID, make(chan struct{})
	f.faults = append(f.faults, &added)
	return &added, nil
}

// clear removes one fault, or all with 0; whoever is stalled by it goes on.
func (f *front) clear(id int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var left []*fault
	for _, one := range f.faults {
		if id == 0 || one.ID == id {
			close(one.gone)
		} else {
			left = append(left, one)
		}
	}
	f.faults = left
}

func (f *front) match(r *http.Request) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.faults {
		if one.Method != "" && one.Method != r.Method ||
			!strings.Contains(r.URL.RequestURI(), one.Path) || !strings.Contains(r.UserAgent(), one.UserAgent) {
			continue
		}
		one.matched++
		if one.matched > one.After && (one.Times == 0 || one.Hit < one.Times) {
			one.Hit++
			return one
		}
	}
	return nil
}

func (f *front) note(r *http.Request, user string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total++
	f.seen = append(f.seen, request{Number: f.total, Method: r.Method, Path: r.URL.RequestURI(), User: user, UserAgent: r.UserAgent()})
	if len(f.seen) > seenLimit {
		f.seen = f.seen[len(f.seen)-seenLimit/2:]
	}
	return f.total
}

func (f *front) answered(number, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return
	}
	if at := number - f.seen[0].Number; at >= 0 && at < len(f.seen) {
		f.seen[at].Code = code
	}
}

// requests are those after this number whose method and path, separated by a blank, contain the words.
func (f *front) requests(after int, words string) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := []request{}
	for _, one := range f.seen {
		if one.Number > after && strings.Contains(one.Method+" "+one.Path, words) {
			found = append(found, one)
		}
	}
	return found
}

// ServeHTTP takes one request through its faults to the server.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, groups, err := f.identity(r)
	number := f.note(r, user)
	w = &noting{ResponseWriter: w, front: f, number: number}
	if err != nil {
		status(w, 401, "Unauthorized", "Unauthorized", 0)
		return
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Remote-") {
			r.Header.Del(name)
		}
	}
	proxy := f.plain
	if user != "" {
		proxy = f.known
		r.Header.Set("X-Remote-User", user)
		for _, group := range groups {
			r.Header.Add("X-Remote-Group", group)
		}
	}
	hit := f.match(r)
	if hit == nil {
		proxy.ServeHTTP(w, r)
		return
	}
	switch hit.Do {
	case "answer":
		io.Copy(io.Discard, r.Body)
		status(w, hit.Code, hit.Reason, hit.Message, hit.RetryAfterS)
	case "stall":
		select {
		case <-hit.gone:
			proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case "delay":
		select {
		case <-time.After(time.Duration(hit.DelayMS) * time.Millisecond):
			proxy.ServeHTTP(w, r)
		case <-hit.gone:
			proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case "cut":
		f.cutRequest(r)
	case "lose":
		proxy.ServeHTTP(&lost{header: http.Header{}}, r)
		f.cutRequest(r)
	}
}

func (f *front) cutRequest(r *http.Request) {
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		reset(conn)
	}
	panic(http.ErrAbortHandler)
}

// identity is who the client's certificate says it is; nobody without one.
func (f *front) identity(r *http.Request) (string, []string, error) {
	if len(r.TLS.PeerCertificates) == 0 {
		return "", nil, nil
	}
	cert := r.TLS.PeerCertificates[0]
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:     f.bed.ca.pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return cert.Subject.CommonName, cert.Subject.Organization, err
}

// status answers as the API server does.
func status(w http.ResponseWriter, code int, reason, message string, retryAfterS int) {
	answer := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure,
		Code:     int32(code),
		Reason:   metav1.StatusReason(reason),
		Message:  message,
	}
	if retryAfterS > 0 {
		answer.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(retryAfterS)}
		w.Header().Set("Retry-After", fmt.Sprint(retryAfterS))
	}
	body, _ := json.Marshal(answer)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	io.Copy(w, bytes.NewReader(body))
}

// noting writes the code of an answer down.
type noting struct {
	http.ResponseWriter
	front  *front
	number int
}

func (n *noting) WriteHeader(code int) {
	n.front.answered(n.number, code)
	n.ResponseWriter.WriteHeader(code)
}

func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// lost takes an answer that nobody gets.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}
