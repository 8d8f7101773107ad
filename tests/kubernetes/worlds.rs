//! Broken worlds: servers that are away, busy, slow or lose their answers; accounts that may not; others who interfere.
//! Each a clear error or none at all, and nothing half-done that could not be taken back.

use std::time::Duration;

use runner::saga::{CutCause, FailureClass, Verdict};
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::sshd::until;
use super::support::world::{acted, cut, failed};
use super::{MAP, Scene, deployment, failing, played};

const SHORT: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_away_for_a_while_or_loses_answers_is_borne() {
    let Some((scene, cluster)) = played("borne") else { return };
    for (name, fault) in [
        ("busy", json!({ "do": "answer", "code": 429, "reason": "TooManyRequests", "retry_after_s": 1 })),
        ("unavailable", json!({ "do": "answer", "code": 503, "reason": "ServiceUnavailable" })),
        ("broken", json!({ "do": "answer", "code": 500, "reason": "InternalError", "message": "etcd" })),
        ("cut", json!({ "do": "cut" })),
        ("lost", json!({ "do": "lose" })),
    ] {
        let front = cluster.front(&format!("borne-{name}"));
        let over = Scene::over(&front.kubeconfig, cluster.namespace(&format!("borne-{name}")));
        let pre_image = over.pre_image("a", MAP).await;
        let mut fault = fault;
        fault["method"] = json!("PATCH");
        fault["times"] = json!(2);
        front.fault(&fault);
        over.act("a", MAP).await;
        assert_eq!(over.ns.field("configmap a", ".data.k"), "new", "{name}");
        assert!(front.requests("PATCH").len() >= 4, "{name}: it was not tried again");
        fault["method"] = json!("DELETE");
        front.heal();
        front.fault(&fault);
        over.undo("a", MAP, &pre_image).await;
        assert!(over.objects().is_empty(), "{name}");
    }
    drop(scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_or_does_not_answer_is_said() {
    let Some((scene, cluster)) = played("away") else { return };
    let front = cluster.front("away");
    let over = Scene::over(&front.kubeconfig, scene.ns);
    let call = |attempt| {
        let mut call = over.call("a", attempt, MAP, json!({}));
        call.timeout = SHORT;
        call
    };
    front.down();
    let answer = over.world.actions.probe(call(0)).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    assert!(over.world.actions.pre_image(call(0)).await.is_err());
    let (class, message, _) = failed(over.world.actions.act(call(1)).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(message.contains("no connection") && message.contains("nothing was sent"), "{message}");
    front.up();
    // The dry run passes, and then nobody knows.
    front.fault(&json!({ "do": "stall", "method": "PATCH", "after": 1 }));
    let (cause, message, _) = cut(over.world.actions.act(call(2)).await);
    assert_eq!(cause, CutCause::Timeout);
    assert!(message.contains("no answer within"), "{message}");
    front.heal();
    over.act("a", MAP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_survives_the_server_and_sees_what_others_do() {
    let Some((scene, cluster)) = played("others") else { return };
    let front = cluster.front("others");
    let over = Scene::over(&front.kubeconfig, scene.ns);
    let text = deployment("slow", "annotations: { testbed.runner/delay: 3s }", "", "");
    let act = tokio::spawn(over.world.actions.act(over.call("a", 1, &text, json!({}))));
    over.ns.wait("deployment/slow", ".status.replicas", "1");
    front.down();
    front.up();
    front.cut();
    acted(act.await.unwrap());

    let text = deployment("gone", &failing("creating"), "", "");
    let act = tokio::spawn(over.world.actions.act(over.call("b", 1, &text, json!({}))));
    over.ns.wait("deployment/gone", ".status.replicas", "1");
    over.ns.kubectl("delete deployment gone").expect(0);
    let (_, message, _) = failed(act.await.unwrap());
    assert!(message.contains("somebody has deleted it"), "{message}");
}

/// The server itself ends and begins again: once while objects are applied, and once while their rollout is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_itself_begins_again_in_the_middle_of_it() {
    if played("shared").is_none() {
        return;
    }
    // One of its own: everybody on it feels that.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().unwrap()));
    let scene = Scene::over(cluster.kubeconfig(), cluster.namespace("again"));
    let all: String = (0..120)
        .map(|number| {
            format!(
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: m{number} }}\ndata: {{ k: v }}\n"
            )
        })
        .collect();
    let text = format!("{}{all}", deployment("slow", "annotations: { testbed.runner/delay: 6s }", "", ""));
    let pre_image = scene.pre_image("a", &text).await;
    let mut call = scene.call("a", 1, &text, json!({ "give_up_after": "1m" }));
    call.timeout = Duration::from_secs(300);
    let act = tokio::spawn(scene.world.actions.act(call));
    let maps = |scene: &Scene| scene.ns.kubectl("get configmaps -o name").out.lines().count();
    until("some are applied, and not all", || maps(&scene) > 20);
    cluster.restart().unwrap();
    until("its pod is there", || scene.ns.kubectl("get pods -o name").out.contains("slow"));
    let waits = !act.is_finished();
    cluster.restart().unwrap();
    let (outputs, trace) = acted(act.await.unwrap());
    println!("it waited at the second one: {waits}; {}", trace.tail);
    assert_eq!(outputs["node"], "gpu-1", "{outputs:?}");
    assert_eq!(maps(&scene), 121);
    assert_eq!(scene.probe("a", &text).await.verdict, Verdict::Holds);
    let back = {
        let mut call = scene.call("a", 1, &text, json!({}));
        call.key.direction = runner::saga::Direction::Compensation;
        call.timeout = Duration::from_secs(300);
        tokio::spawn(scene.world.actions.undo(call, pre_image))
    };
    until("some are gone, and not all", || maps(&scene) < 100);
    cluster.restart().unwrap();
    acted(back.await.unwrap());
    assert!(scene.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_may_not_are_told_what_would_grant_it() {
    let Some((scene, cluster)) = played("account") else { return };
    let nobody = cluster.user("nobody", 3600);
    let name = scene.ns.name.clone();
    let over = Scene::over(&nobody, scene.ns);
    let (class, message, _) = failed(over.world.actions.act(over.call("a", 1, MAP, json!({}))).await);
    assert_eq!(class, FailureClass::Permanent);
    for words in
        ["cannot get resource \"configmaps\"", &format!("a Role in namespace `{name}`"), "verbs: [\"get\"]"]
    {
        assert!(message.contains(words), "{message}");
    }
    let needs = over.world.actions.needs(over.call("a", 0, MAP, json!({}))).await;
    let missing = needs[0].met.clone().unwrap_err();
    for verb in ["create", "patch", "get", "delete"] {
        assert!(missing.contains(&format!("may not `{verb}` `configmaps`")), "{missing}");
    }
    // With exactly those it can.
    cluster
        .kubectl(&format!("-n {name} create role r --verb=get,create,patch,delete --resource=configmaps"))
        .expect(0);
    cluster.kubectl(&format!("-n {name} create rolebinding r --role=r --user=nobody")).expect(0);
    until("the right is there", || {
        cluster.kubectl(&format!("-n {name} auth can-i patch configmaps --as=nobody")).code == 0
    });
    let needs = over.world.actions.needs(over.call("a", 0, MAP, json!({}))).await;
    assert!(needs[0].met.is_ok(), "{needs:?}");
    let pre_image = over.pre_image("a", MAP).await;
    over.act("a", MAP).await;
    over.undo("a", MAP, &pre_image).await;

    let expired = cluster.user("expired", -60);
    let over = Scene::over(&expired, cluster.namespace("expired"));
    let mut call = over.call("a", 1, MAP, json!({}));
    call.timeout = SHORT;
    let (class, message, _) = failed(over.world.actions.act(call).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("its token or certificate has run out; log in again"), "{message}");
    let mut nowhere = over.call("a", 2, MAP, json!({}));
    let places = std::sync::Arc::make_mut(&mut nowhere.places);
    places.clusters.get_mut("home").unwrap().kubeconfig = Some("/no/such/kubeconfig".to_owned());
    let (class, message, _) = failed(over.world.actions.act(nowhere).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("the kubeconfig `/no/such/kubeconfig`"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_and_namespaces_on_their_way_out_refuse() {
    let Some((scene, cluster)) = played("refuses") else { return };
    let refused = format!(
        "{MAP}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: b, labels: {{ testbed.runner/refuse: 'yes' }} }}\n"
    );
    let (class, message, _) = failed(scene.world.actions.act(scene.call("a", 1, &refused, json!({}))).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("admission webhook"), "{message}");
    assert!(scene.objects().is_empty());

    scene
        .ns
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: held, finalizers: [example.com/held] }\n");
    cluster.kubectl(&format!("delete namespace {} --wait=false", scene.ns.name)).expect(0);
    let mut call = scene.call("a", 2, MAP, json!({}));
    call.timeout = SHORT;
    let (class, message, _) = failed(scene.world.actions.act(call).await);
    assert_eq!(class, FailureClass::Transient, "it will be gone one day");
    assert!(message.contains("being terminated"), "{message}");
    scene.ns.kubectl_of(&[
        "patch",
        "configmap",
        "held",
        "--type=merge",
        "-p",
        "{\"metadata\":{\"finalizers\":null}}",
    ]);
}

/// Somebody else is always faster: what was read is over when it is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_others_write_meanwhile_is_read_again() {
    let Some((scene, cluster)) = played("stale") else { return };
    let front = cluster.front("stale");
    let over = Scene::over(&front.kubeconfig, scene.ns);
    over.ns.apply(&MAP.replace("new, more: x", "old"));
    let pre_image = over.pre_image("a", MAP).await;
    acted(over.world.actions.act(over.call("a", 1, MAP, json!({ "force_conflicts": true }))).await);
    front.fault(&json!({ "do": "answer", "method": "PATCH", "code": 409, "reason": "Conflict", "times": 3 }));
    over.undo("a", MAP, &pre_image).await;
    assert_eq!(over.ns.field("configmap a", ".data"), "{\"k\":\"old\"}");
    assert_eq!(over.managers("configmap a"), ["test"]);
}

/// Failing at each point, on both ways, and going back leaves what was there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_every_point_at_which_it_ends_the_way_back_leaves_what_was_there() {
    let Some((scene, cluster)) = played("points") else { return };
    let front = cluster.front("points");
    let over = Scene::over(&front.kubeconfig, scene.ns);
    over.ns.apply(&MAP.replace("new, more: x", "old"));
    let before = over.objects();
    let all = format!(
        "{MAP}---\napiVersion: v1\nkind: Service\nmetadata: {{ name: web }}\nspec: {{ selector: {{ app: web }}, ports: [{{ \
         port: 80 }}] }}\n---\n{}",
        deployment("web", "", "", "")
    );
    let refuse = |method: &str, after: usize| json!({ "do": "answer", "method": method, "after": after, "code": 422, "reason": "Invalid", "message": "no" });
    let force = json!({ "force_conflicts": true });
    // Three dry runs, then three objects.
    for point in 0..6 {
        let step = format!("there{point}");
        let pre_image = over.pre_image(&step, &all).await;
        front.fault(&refuse("PATCH", point));
        failed(over.world.actions.act(over.call(&step, 1, &all, force.clone())).await);
        front.heal();
        over.undo(&step, &all, &pre_image).await;
        assert_eq!(over.objects(), before, "point {point}");
        assert_eq!(over.managers("configmap a"), ["test"], "point {point}");
    }
    // Two deletes, and two patches that give back.
    for (method, after) in [("DELETE", 0), ("DELETE", 1), ("PATCH", 0), ("PATCH", 1)] {
        let step = format!("back-{}{after}", method.to_lowercase());
        let pre_image = over.pre_image(&step, &all).await;
        acted(over.world.actions.act(over.call(&step, 1, &all, force.clone())).await);
        front.fault(&refuse(method, after));
        let mut call = over.call(&step, 1, &all, json!({}));
        call.key.direction = runner::saga::Direction::Compensation;
        failed(over.world.actions.undo(call, pre_image.clone()).await);
        front.heal();
        over.undo(&step, &all, &pre_image).await;
        assert_eq!(over.objects(), before, "{method} {after}");
        assert_eq!(over.managers("configmap a"), ["test"], "{method} {after}");
    }
}
