package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// server is the API server, which can be killed and started again on its port, over the same etcd.
type server struct {
	bed  *bed
	etcd string

	// One restart at a time.
	restarting sync.Mutex
	listener   *cutting
	stop       context.CancelFunc
	ended      chan struct{}
}

// cutting is a listener that knows what it has accepted. The server itself closes it: it panics when anybody else does.
type cutting struct {
	net.Listener
	mu    sync.Mutex
	over  bool
	conns []net.Conn
}

func (c *cutting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		if c.over {
			reset(conn)
		} else {
			c.conns = append(c.conns, conn)
		}
		c.mu.Unlock()
	}
	return conn, err
}

// cut ends every connection, those to come too.
func (c *cutting) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, conn := range c.conns {
		reset(conn)
	}
	c.conns = nil
}

func (s *server) address() string { return s.listener.Addr().String() }

func (s *server) open(address string) error {
	listener, err := net.Listen("tcp", address)
	s.listener = &cutting{Listener: listener}
	return err
}

func (s *server) start() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.stop, s.ended = stop, ended
	listener := s.listener
	go func() {
		err := s.bed.runAPIServer(ctx, listener, s.etcd)
		close(ended)
		if ctx.Err() == nil {
			s.bed.broken <- fmt.Errorf("kube-apiserver has ended: %v", err)
			return
		}
		klog.InfoS("the API server was stopped", "err", err)
	}()
}

func (s *server) ready(ctx context.Context) error {
	return s.bed.wait(ctx, "the API server is ready", func() error {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := s.bed.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(asking)
		return err
	})
}

// restart cuts every connection, ends the server and starts another; it returns when that is ready. Watches, requests
// and everything the server held in memory are lost, as when its machine was.
func (s *server) restart(ctx context.Context) error {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	address := s.address()
	s.listener.cut()
	s.stop()
	select {
	case <-s.ended:
	case <-ctx.Done():
		return errors.Join(errors.New("the API server does not end"), ctx.Err())
	}
	if err := s.open(address); err != nil {
		return err
	}
	s.start()
	return s.ready(ctx)
}
