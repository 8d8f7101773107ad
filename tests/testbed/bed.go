package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

// bed is everything that runs.
type bed struct {
	folder   string
	ca       *authority
	frontCA  *authority
	upstream string
	control  string
	server   *server
	client   kubernetes.Interface
	shared   informers.SharedInformerFactory
	events   record.EventRecorder
	// broken says that a component ended by itself.
	broken chan error

	rules *rules
	nodes *nodes
	pods  *pods

	mu     sync.Mutex
	fronts map[string]*front
	users  int
}

const day = 24 * time.Hour

// start brings everything up and returns when a pod could be scheduled.
func start(ctx context.Context, folder string) (*bed, error) {
	b := &bed{folder: folder, broken: make(chan error, 8), fronts: map[string]*front{}}
	forever := context.Background()
	if err := b.certificates(); err != nil {
		return nil, err
	}
	etcd, err := startEtcd(ctx, folder)
	if err != nil {
		return nil, err
	}
	b.server = &server{bed: b, etcd: etcd}
	if err := b.server.open("127.0.0.1:0"); err != nil {
		return nil, err
	}
	b.upstream = "https://" + b.server.address()
	admin, err := b.ca.issue("admin", []string{"system:masters"}, day)
	if err != nil {
		return nil, err
	}
	if err := admin.write(b.path("admin")); err != nil {
		return nil, err
	}
	if err := writeKubeconfig(b.path("direct"), b.upstream, "admin", b.ca.pem, admin); err != nil {
		return nil, err
	}
	if err := b.connect(); err != nil {
		return nil, err
	}
	b.server.start()
	if err := b.server.ready(ctx); err != nil {
		return nil, err
	}
	b.run("kube-controller-manager", func() error { return b.runControllers(forever) })
	b.run("kube-scheduler", func() error { return b.runScheduler(forever) })
	if _, err := b.openFront("main"); err != nil {
		return nil, err
	}
	if err := writeKubeconfig(b.path("kubeconfig"), b.front("main").url(), "admin", b.ca.pem, admin); err != nil {
		return nil, err
	}
	if err := b.play(ctx); err != nil {
		return nil, err
	}
	if err := b.serveControl(); err != nil {
		return nil, err
	}
	return b, b.wait(ctx, "the node is ready and the first namespace has its account", func() error {
		node, err := b.client.CoreV1().Nodes().Get(ctx, firstNode, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(node.Spec.Taints) > 0 {
			return fmt.Errorf("the node is tainted: %v", node.Spec.Taints)
		}
		_, err = b.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// play starts what stands for machines: nodes and their kubelet, the load balancer, the provisioner, the webhook.
func (b *bed) play(ctx context.Context) error {
	b.shared = informers.NewSharedInformerFactory(b.client, 0)
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: b.client.CoreV1().Events("")})
	b.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet"})
	b.rules = &rules{}
	b.nodes = newNodes(b)
	b.pods = newPods(b)
	if err := b.startKubelet(); err != nil {
		return err
	}
	b.playServices()
	b.playVolumes()
	b.shared.Start(context.Background().Done())
	b.shared.WaitForCacheSync(ctx.Done())
	b.pods.start()
	if err := b.classes(ctx); err != nil {
		return err
	}
	if err := b.startWebhook(ctx); err != nil {
		return err
	}
	return b.nodes.add(ctx, nodeSpec{Name: firstNode, GPUs: 1})
}

func (b *bed) certificates() error {
	var err error
	if b.ca, err = newAuthority("testbed"); err != nil {
		return err
	}
	if b.frontCA, err = newAuthority("testbed-front"); err != nil {
		return err
	}
	if err := b.write("ca.crt", b.ca.pem); err != nil {
		return err
	}
	if err := b.write("front-ca.crt", b.frontCA.pem); err != nil {
		return err
	}
	serving, err := b.ca.issue("testbed", nil, day)
	if err != nil {
		return err
	}
	if err := serving.write(b.path("serving")); err != nil {
		return err
	}
	proxy, err := b.frontCA.issue("front", nil, day)
	if err != nil {
		return err
	}
	if err := proxy.write(b.path("front")); err != nil {
		return err
	}
	_, accounts, err := newKey()
	if err != nil {
		return err
	}
	return b.write("accounts.key", accounts)
}

func (b *bed) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", b.path("direct"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 500, 1000
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	b.client, err = kubernetes.NewForConfig(rest.AddUserAgent(config, "testbed"))
	return err
}

// run starts a component, whose end is the end of everything.
func (b *bed) run(name string, component func() error) {
	go func() {
		err := component()
		b.broken <- fmt.Errorf("%s has ended: %v", name, err)
	}()
}

// wait asks until there is no error, and gives the last one when the time is up.
func (b *bed) wait(ctx context.Context, what string, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case broken := <-b.broken:
			return broken
		case <-ctx.Done():
			return fmt.Errorf("not in time: %s: %w", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (b *bed) front(name string) *front {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fronts[name]
}
