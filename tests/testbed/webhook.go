package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startWebhook refuses what carries the label testbed.runner/refuse, and everything in a namespace that does. It is
// asked about nothing else, so that it costs others nothing.
func (b *bed) startWebhook(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, err := tls.LoadX509KeyPair(b.path("serving.crt"), b.path("serving.key"))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(refuse),
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{serving}},
	}
	b.run("the webhook", func() error { return server.ServeTLS(listener, "", "") })

	address := fmt.Sprintf("https://%s/", listener.Addr())
	none, fail, seconds := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, int32(10)
	labelled := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: refuseLabel, Operator: metav1.LabelSelectorOpExists,
	}}}
	hook := admissionregistrationv1.ValidatingWebhook{
		ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &address, CABundle: b.ca.pem},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"},
			},
		}},
		SideEffects: &none, FailurePolicy: &fail, TimeoutSeconds: &seconds, AdmissionReviewVersions: []string{"v1"},
	}
	object, namespace := hook, hook
	object.Name, object.ObjectSelector = "object.refuse.testbed.runner", labelled
	namespace.Name, namespace.NamespaceSelector = "namespace.refuse.testbed.runner", labelled
	scope := admissionregistrationv1.NamespacedScope
	namespace.Rules = []admissionregistrationv1.RuleWithOperations{hook.Rules[0]}
	namespace.Rules[0].Scope = &scope
	_, err = b.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx,
		&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "refuse.testbed.runner"},
			Webhooks:   []admissionregistrationv1.ValidatingWebhook{object, namespace},
		}, metav1.CreateOptions{})
	return err
}

func refuse(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "this is no admission review", http.StatusBadRequest)
		return
	}
	request := review.Request
	message := fmt.Sprintf("the house rules refuse %s %s", request.Kind.Kind, request.Name)
	// A namespace with the label can be made and be labelled; it is what comes into it that is refused. Events pass,
	// so that what is there already can tell how it is.
	allowed := request.Kind.Kind == "Event" || request.Kind.Kind == "Namespace"
	review.Response = &admissionv1.AdmissionResponse{
		UID: request.UID, Allowed: allowed,
		Result: &metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message},
	}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(review)
}
