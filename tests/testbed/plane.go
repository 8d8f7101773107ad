package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	restclient "k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllersoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// The components are started by their options and not by their commands, which each install the process's one signal
// handler and apply the one logging configuration. Flags are the public face of the options, so they are given as
// flags, as anybody would find them in the manual.

// startEtcd starts a store that never syncs, and returns its address.
func startEtcd(ctx context.Context, folder string) (string, error) {
	anywhere, err := url.Parse("http://127.0.0.1:0")
	if err != nil {
		return "", err
	}
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "etcd")
	config.UnsafeNoFsync = true
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*anywhere}, []url.URL{*anywhere}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*anywhere}, []url.URL{*anywhere}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	// It would dial the port it was configured with, which is none.
	config.EnableGRPCGateway = false
	config.LogLevel = "error"
	config.LogOutputs = []string{filepath.Join(folder, "etcd.log")}
	config.QuotaBackendBytes = 1 << 30
	store, err := embed.StartEtcd(config)
	if err != nil {
		return "", fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-store.Server.ReadyNotify():
		return "http://" + store.Clients[0].Addr().String(), nil
	case err := <-store.Err():
		return "", fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return "", fmt.Errorf("etcd is not ready: %w", ctx.Err())
	}
}

// parse gives a component its flags.
func parse(component string, sets cliflag.NamedFlagSets, args []string) error {
	flags := pflag.NewFlagSet(component, pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}

// runAPIServer serves on this listener until the context ends.
func (b *bed) runAPIServer(ctx context.Context, listener net.Listener, etcd string) error {
	options := apiserveroptions.NewServerRunOptions()
	port := listener.Addr().(*net.TCPAddr).Port
	err := parse("kube-apiserver", options.Flags(), []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + b.path("serving.crt"),
		"--tls-private-key-file=" + b.path("serving.key"),
		"--client-ca-file=" + b.path("ca.crt"),
		"--requestheader-client-ca-file=" + b.path("front-ca.crt"),
		"--requestheader-allowed-names=front",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + b.path("front.crt"),
		"--proxy-client-key-file=" + b.path("front.key"),
		"--kubelet-certificate-authority=" + b.path("ca.crt"),
		"--kubelet-client-certificate=" + b.path("admin.crt"),
		"--kubelet-client-key=" + b.path("admin.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + b.path("accounts.key"),
		"--service-account-signing-key-file=" + b.path("accounts.key"),
		"--service-cluster-ip-range=10.43.0.0/16",
		"--authorization-mode=RBAC",
		"--endpoint-reconciler-type=none",
		"--allow-privileged",
		"--profiling=false",
		// The default of 60 s each, so that a watch of a test does not end by itself.
		"--min-request-timeout=3600",
	})
	if err != nil {
		return err
	}
	options.SecureServing.Listener = listener
	if err := options.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	restclient.SetDefaultWarningHandler(restclient.NoWarnings{})
	completed, err := options.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return fmt.Errorf("kube-apiserver: %v", errs)
	}
	return apiserver.Run(ctx, completed)
}

// Times that are shorter than a real cluster's, so that a lost node is noticed within a test.
const (
	heartbeat  = time.Second
	nodeGrace  = 8 * time.Second
	nodePeriod = time.Second
)

// left out: what needs metrics, a cloud, attached volumes, or signs certificates.
const controllerList = "*,-horizontal-pod-autoscaler-controller,-certificatesigningrequest-signing-controller," +
	"-certificatesigningrequest-approving-controller,-certificatesigningrequest-cleaner-controller," +
	"-node-ipam-controller,-persistentvolume-attach-detach-controller,-persistentvolume-expander-controller," +
	"-bootstrap-signer-controller,-token-cleaner-controller"

func (b *bed) runControllers(ctx context.Context) error {
	options, err := controllersoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, disabled, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()
	err = parse("kube-controller-manager", options.Flags(known, disabled, aliases), []string{
		"--kubeconfig=" + b.path("direct"),
		"--leader-elect=false",
		"--secure-port=0",
		"--controllers=" + controllerList,
		"--service-account-private-key-file=" + b.path("accounts.key"),
		"--root-ca-file=" + b.path("ca.crt"),
		fmt.Sprintf("--node-monitor-period=%s", nodePeriod),
		fmt.Sprintf("--node-monitor-grace-period=%s", nodeGrace),
		"--kube-api-qps=300",
		"--kube-api-burst=600",
	})
	if err != nil {
		return err
	}
	config, err := options.Config(ctx, known, disabled, aliases)
	if err != nil {
		return err
	}
	return controllers.Run(ctx, config.Complete())
}

func (b *bed) runScheduler(ctx context.Context) error {
	options := scheduleroptions.NewOptions()
	err := parse("kube-scheduler", *options.Flags, []string{
		"--kubeconfig=" + b.path("direct"),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=300",
		"--kube-api-burst=600",
	})
	if err != nil {
		return err
	}
	config, running, err := scheduler.Setup(ctx, options)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, running)
}

func (b *bed) path(name string) string { return filepath.Join(b.folder, name) }

func (b *bed) write(name string, content []byte) error {
	return os.WriteFile(b.path(name), content, 0o600)
}
