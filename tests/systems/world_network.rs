//! `http`, `tcp` and `dns` against real servers on 127.0.0.1: what each answer and each failure is taken for.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runner::saga::{Answer, CutCause, FailureClass, Settlement, Verdict};
use runner::transport::Stop;
use serde_json::{Value, json};
use support::http::{Reply, Server};
use support::port::{Port, tcp_and_udp};
use support::world::{World, acted, cut, failed};

fn http(mut fields: Value) -> Value {
    fields["name"] = json!("http");
    fields
}

async fn looked(world: &World, fields: Value) -> Answer {
    world.checks.look(world.look(fields)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sends_what_the_fields_say_and_gives_outputs() {
    let server = Server::start(|_| {
        Reply::Say(201, vec!["X-Id: 7".to_owned()], br#"{"id":7,"url":"http://x/7"}"#.to_vec())
    });
    let world = World::new();
    let call = world.call(
        "a",
        1,
        http(json!({
            "url": server.url("/things?x=1#fragment"), "headers": { "X-Token": "word" },
            "body_json": { "n": 1, "list": ["a"] }, "status": 201, "json": { "/id": { "at_least": 7 } },
            "outputs": { "all": "text", "url": "/url", "id": "header:x-id" },
        })),
    );
    let (outputs, trace) = acted(world.actions.act(call).await);
    assert_eq!(outputs["url"], "http://x/7");
    assert_eq!(outputs["id"], "7");
    assert_eq!(outputs["all"], r#"{"id":7,"url":"http://x/7"}"#);
    assert!(trace.tail.starts_with("201 Created\n"), "{trace:?}");
    assert!(String::from_utf8(world.log(&trace)).unwrap().contains("http://x/7"));
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/things?x=1"));
    assert_eq!(asked.body, r#"{"list":["a"],"n":1}"#);
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("x-token"), Some("word"));
    assert!(asked.header("user-agent").unwrap().starts_with("runner/"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_expected_is_classed() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/text" => Reply::ok("plain"),
        "/json" => Reply::ok(r#"{"state":"busy"}"#),
        status => Reply::status(status[1..].parse().unwrap()),
    });
    let world = World::new();
    let mut attempt = 0;
    for (fields, class, words) in [
        (json!({ "url": "/404" }), FailureClass::Permanent, "the answer is 404 Not Found"),
        (json!({ "url": "/302" }), FailureClass::Permanent, "302 Found"),
        (json!({ "url": "/204", "status": [200, 201] }), FailureClass::Permanent, "not 200 or 201"),
        (json!({ "url": "/429" }), FailureClass::Transient, "429"),
        (json!({ "url": "/503" }), FailureClass::Transient, "503 Service Unavailable"),
        (json!({ "url": "/text", "json": { "/a": 1 } }), FailureClass::Transient, "is not JSON"),
        (json!({ "url": "/text", "contains": "other" }), FailureClass::Transient, "does not contain"),
        (
            json!({ "url": "/json", "json": { "/state": { "one_of": ["ready"] } } }),
            FailureClass::Transient,
            "at `/state` is `\"busy\"`, not one of",
        ),
        (json!({ "url": "/text", "outputs": { "a": "/a" } }), FailureClass::Permanent, "is not JSON"),
        (json!({ "url": "/text", "outputs": { "a": "header:x" } }), FailureClass::Permanent, "no header `x`"),
    ] {
        attempt += 1;
        let mut fields = http(fields);
        fields["url"] = json!(server.url(fields["url"].as_str().unwrap()));
        let (found, message, _) = failed(world.actions.act(world.call("a", attempt, fields)).await);
        assert_eq!(found, class, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_known_whether_anything_was_sent() {
    let world = World::new();
    // Refused: nothing was.
    let nobody = Port::held();
    let url = format!("http://127.0.0.1:{}/", nobody.number());
    let call = world.call("a", 1, http(json!({ "url": url, "method": "POST" })));
    let (class, message, _) = failed(world.actions.act(call).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(message.contains("refuses the connection; nothing was sent"), "{message}");
    // No such name: nothing was.
    let call = world.call("a", 2, http(json!({ "url": "http://no-such-name.invalid/" })));
    let (class, message, _) = failed(world.actions.act(call).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(message.contains("nothing was sent"), "{message}");
    // A listener that never takes the connection on: it is made all the same, and the request waits in it.
    let server = Server::start(|asked| match asked.target.as_str() {
        "/drop" => Reply::Drop,
        _ => Reply::Hang,
    });
    let call = world.call("a", 3, http(json!({ "url": server.url("/drop"), "method": "POST" })));
    let (cause, message, _) = cut(world.actions.act(call.clone()).await);
    assert_eq!(cause, CutCause::Connection);
    assert!(message.contains("may have received it"), "{message}");
    assert_eq!(world.actions.settle(call).await, Settlement::Over);
    let mut call = world.call("a", 4, http(json!({ "url": server.url("/hang") })));
    call.timeout = Duration::from_millis(300);
    let (cause, message, _) = cut(world.actions.act(call).await);
    assert_eq!(cause, CutCause::Timeout);
    assert!(message.contains("did not answer within 300ms"), "{message}");
    // A person: by default it is waited for, and `on_stop` says otherwise.
    let (sender, stop) = Stop::channel();
    let mut call = world.call("a", 5, http(json!({ "url": server.url("/stopped"), "on_stop": "stop" })));
    call.stop = stop;
    let acting = tokio::spawn(world.actions.act(call));
    support::sshd::until("it was asked", || server.asked().iter().any(|asked| asked.target == "/stopped"));
    sender.fire();
    let (cause, message, _) = cut(acting.await.unwrap());
    assert_eq!(cause, CutCause::Stopped);
    assert!(message.contains("may have taken effect"), "{message}");
    // What cannot be sent at all.
    for (fields, words) in [
        (json!({ "url": "ftp://x/" }), "begins with `http://`"),
        (json!({ "url": "http://me:pw@x/" }), "it has a user in it"),
        (json!({ "url": "http://x/ y" }), "it is no address"),
        (json!({ "url": server.url("/"), "headers": { "a": "b\nc" } }), "line break"),
        (json!({ "url": server.url("/"), "headers": { "a b": "c" } }), "name of a header"),
    ] {
        let (class, message, _) = failed(world.actions.act(world.call("a", 6, http(fields))).await);
        assert_eq!(class, FailureClass::Permanent);
        assert!(message.contains(words) && !message.contains("pw"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_bounded() {
    let long = "x".repeat(3 << 20);
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/endless" => Reply::Endless,
        _ => Reply::ok(long.clone()),
    });
    let world = World::new();
    // Into the log, whole.
    let call = world.call("a", 1, http(json!({ "url": server.url("/long") })));
    let (_, trace) = acted(world.actions.act(call).await);
    assert!(world.log(&trace).len() > 3 << 20);
    let call = world.call("a", 2, http(json!({ "url": server.url("/long"), "contains": "y" })));
    let (_, message, _) = failed(world.actions.act(call).await);
    assert!(message.contains("more than 1048576 bytes"), "{message}");
    let call = world.call("a", 3, http(json!({ "url": server.url("/endless") })));
    acted(world.actions.act(call).await);
    let answer = looked(&world, http(json!({ "url": server.url("/long"), "contains": "y" }))).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    // Nobody asks for the body: it is not read.
    let answer = looked(&world, http(json!({ "url": server.url("/endless") }))).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_share_a_connection_and_what_changes_something_has_its_own() {
    let server = Server::start(|_| Reply::ok("{}"));
    let world = World::new();
    let connections = || server.asked().iter().map(|asked| asked.connection).collect::<Vec<usize>>();
    // A connection is free again a moment after the answer was read, so a look that is quicker makes another.
    let shared = |all: &[usize]| all.iter().collect::<std::collections::BTreeSet<_>>().len() < all.len();
    while !shared(&connections()) {
        assert!(connections().len() < 100, "{:?}", connections());
        looked(&world, http(json!({ "url": server.url("/"), "json": { "/a": { "exists": false } } }))).await;
    }
    let count = connections().len();
    for attempt in 1..=2 {
        let call = world.call("a", attempt, http(json!({ "url": server.url("/"), "method": "PUT" })));
        acted(world.actions.act(call).await);
    }
    let connections = connections();
    let (looks, changes) = connections.split_at(count);
    assert!(
        changes[0] != changes[1] && changes.iter().all(|change| !looks.contains(change)),
        "{connections:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_followed_as_far_as_asked_and_take_no_secrets_elsewhere() {
    let other = Server::start(|_| Reply::ok("there"));
    let there = other.url("/there");
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/away" => Reply::Say(302, vec![format!("Location: {there}")], Vec::new()),
        "/a" => Reply::Say(301, vec!["Location: b".to_owned()], Vec::new()),
        "/round" => Reply::Say(307, vec!["Location: /round".to_owned()], Vec::new()),
        _ => Reply::ok("here"),
    });
    let world = World::new();
    let ask = |path: &str, redirects: u32, contains: &str| {
        let headers = json!({ "X-Token": "word" });
        let url = server.url(path);
        http(json!({ "url": url, "redirects": redirects, "headers": headers, "contains": contains }))
    };
    assert_eq!(looked(&world, ask("/a", 0, "here")).await.verdict, Verdict::Absent);
    assert_eq!(looked(&world, ask("/a", 1, "here")).await.verdict, Verdict::Holds);
    assert_eq!(server.asked().last().unwrap().header("x-token"), Some("word"));
    let round = looked(&world, ask("/round", 3, "here")).await;
    assert_eq!((round.verdict, &round.facts["status"]), (Verdict::Absent, &json!(307)));
    assert_eq!(looked(&world, ask("/away", 2, "there")).await.verdict, Verdict::Holds);
    assert_eq!(other.asked()[0].header("x-token"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_what_it_saw() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/down" => Reply::status(503),
        "/drop" => Reply::Drop,
        "/hang" => Reply::Hang,
        _ => Reply::ok(r#"{"version":"0.16.1","uptime":61,"names":["a"],"none":null}"#),
    });
    let world = World::new();
    let expected = json!({
        "/version": { "matches": "^0\\.16\\." }, "/uptime": { "at_least": 60 }, "/names/0": "a",
        "/none": { "exists": true }, "/gone": { "exists": false },
    });
    let answer = looked(&world, http(json!({ "url": server.url("/"), "json": expected }))).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    assert_eq!(
        Value::Object(answer.facts),
        json!({ "status": 200, "/version": "0.16.1", "/uptime": 61, "/names/0": "a", "/none": null })
    );
    let old = json!({ "/uptime": { "at_least": 62 } });
    let answer = looked(&world, http(json!({ "url": server.url("/"), "json": old }))).await;
    assert_eq!((answer.verdict, &answer.facts["/uptime"]), (Verdict::Absent, &json!(61)));
    assert_eq!(answer.reason, "at `/uptime` is `61`, not at least 62");
    let answer = looked(&world, http(json!({ "url": server.url("/down") }))).await;
    assert_eq!((answer.verdict, &answer.facts["status"]), (Verdict::Absent, &json!(503)));
    let answer = looked(&world, http(json!({ "url": server.url("/drop") }))).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    let mut look = world.look(http(json!({ "url": server.url("/hang") })));
    look.timeout = Duration::from_millis(200);
    assert_eq!(world.checks.look(look).await.verdict, Verdict::Unknown);
    let nobody = Port::held();
    let url = format!("http://127.0.0.1:{}/", nobody.number());
    let refused = looked(&world, http(json!({ "url": url }))).await;
    assert_eq!(refused.verdict, Verdict::Absent, "{refused:?}");
    let unnamed = looked(&world, http(json!({ "url": "http://no-such-name.invalid/" }))).await;
    assert_eq!(unnamed.verdict, Verdict::Unknown, "{unnamed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_needs_trust() {
    let (server, pem) = Server::start_tls(|_| Reply::ok("safe"));
    let world = World::new();
    let fields = json!({ "url": server.url("/"), "ca_file": "/p/ca.pem" });
    let mut look = world.look(http(fields.clone()));
    look.bodies = Arc::new([("/p/ca.pem".to_owned(), pem.into_bytes())].into());
    assert_eq!(world.checks.look(look.clone()).await.verdict, Verdict::Holds);
    // Nobody of the system vouches for it.
    let fields = json!({ "url": server.url("/") });
    let answer = looked(&world, http(fields.clone())).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    assert!(answer.reason.contains("ca_file"), "{}", answer.reason);
    let (class, message, _) = failed(world.actions.act(world.call("a", 1, http(fields))).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("nothing was sent"), "{message}");
    // What is no certificate is said to be none.
    look.bodies = Arc::new([("/p/ca.pem".to_owned(), b"nonsense".to_vec())].into());
    let answer = world.checks.look(look).await;
    assert!(answer.reason.contains("no certificate in `ca_file`"), "{}", answer.reason);
    // A server that speaks no TLS.
    let plain = Server::start(|_| Reply::ok(""));
    let url = plain.url("/").replace("http://", "https://");
    assert_eq!(looked(&world, http(json!({ "url": url }))).await.verdict, Verdict::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_come_back_are_masked() {
    let server = Server::start(|asked| Reply::ok(format!("{{\"echo\":\"{}\"}}", asked.header("x").unwrap())));
    let mut world = World::new();
    world.secrets.push("hunter2-secret".to_owned());
    let fields = json!({
        "url": server.url("/"), "headers": { "x": "hunter2-secret" }, "outputs": { "e": "/echo" },
        "json": { "/echo": { "exists": true } },
    });
    let (outputs, trace) = acted(world.actions.act(world.call("a", 1, http(fields.clone()))).await);
    let log = String::from_utf8(world.log(&trace)).unwrap();
    assert_eq!(outputs["e"], "***");
    let answer = looked(&world, http(fields)).await;
    assert_eq!((&answer.facts["/echo"], &answer.outputs["e"]), (&json!("***"), &json!("***")));
    let fields =
        json!({ "url": server.url("/"), "headers": { "x": "hunter2-secret" }, "json": { "/echo": 1 } });
    let (_, message, failing) = failed(world.actions.act(world.call("a", 2, http(fields))).await);
    for text in [log, message, trace.tail, failing.tail, format!("{answer:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(server.asked()[0].header("x"), Some("hunter2-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_says_whether_somebody_listens() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = |address: String| json!({ "name": "tcp", "address": address });
    let open = looked(&world, tcp(listener.local_addr().unwrap().to_string())).await;
    assert_eq!(open.verdict, Verdict::Holds, "{open:?}");
    let nobody = Port::held();
    let shut = looked(&world, tcp(format!("127.0.0.1:{}", nobody.number()))).await;
    assert_eq!(shut.verdict, Verdict::Absent, "{shut:?}");
    let lost = looked(&world, tcp("no-such-name.invalid:80".to_owned())).await;
    assert_eq!(lost.verdict, Verdict::Unknown, "{lost:?}");
}

/// A name server over UDP, and TCP for `long.test`; knows a few names.
fn name_server() -> (String, Arc<AtomicUsize>) {
    use simple_dns::rdata::{A, AAAA, CNAME, RData, TXT};
    use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};
    let (tcp, udp, address) = tcp_and_udp();
    fn answered(question: &[u8], over_tcp: bool) -> Vec<u8> {
        let packet = Packet::parse(question).unwrap();
        let name = packet.questions[0].qname.to_string().to_ascii_lowercase();
        let kind = packet.questions[0].qtype;
        let mut reply = Packet::new_reply(packet.id());
        reply.questions = packet.questions.clone();
        let owner = Name::new(&name).unwrap();
        let mut add = |data: RData<'static>| {
            let record = ResourceRecord::new(owner.clone().into_owned(), CLASS::IN, 60, data);
            if record.match_qtype(kind) || matches!(record.rdata, RData::CNAME(_)) {
                reply.answers.push(record);
            }
        };
        let a = |last| RData::A(A { address: u32::from(std::net::Ipv4Addr::new(10, 0, 0, last)) });
        match name.as_str() {
            "two.test" => [a(2), a(1)].into_iter().for_each(&mut add),
            "six.test" => add(RData::AAAA(AAAA { address: 1 })),
            "alias.test" => {
                add(RData::CNAME(CNAME(Name::new_unchecked("two.test"))));
                add(a(1));
            }
            "text.test" => add(RData::TXT(TXT::new().with_string("v=spf1 -all").unwrap())),
            "long.test" if over_tcp => add(a(9)),
            "long.test" => reply.set_flags(PacketFlag::TRUNCATION),
            "broken.test" => *reply.rcode_mut() = RCODE::ServerFailure,
            _ => *reply.rcode_mut() = RCODE::NameError,
        }
        reply.build_bytes_vec().unwrap()
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            // The first question of all is lost.
            if count.fetch_add(1, Ordering::SeqCst) > 0 {
                // Another's answer comes first, and is not taken.
                let mut wrong = answered(&buffer[..length], false);
                wrong[0] ^= 1;
                udp.send_to(&wrong, from).unwrap();
                udp.send_to(&answered(&buffer[..length], false), from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let answer = answered(&question, true);
            let length = u16::try_from(answer.len()).unwrap();
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).unwrap();
        }
    });
    (address.to_string(), asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_asks_the_server_that_it_is_told() {
    let (server, asked) = name_server();
    let world = World::new();
    let look = |mut fields: Value| {
        fields["name"] = json!("dns");
        fields["server"] = json!(server);
        let host = fields["of"].take();
        let mut look = world.look(fields);
        look.operation.fields.remove("of");
        look.operation.fields.insert("name".to_owned(), host);
        world.checks.look(look)
    };
    for (fields, verdict, records) in [
        (json!({ "of": "two.test" }), Verdict::Holds, json!(["10.0.0.1", "10.0.0.2"])),
        (json!({ "of": "TWO.test." }), Verdict::Holds, json!(["10.0.0.1", "10.0.0.2"])),
        (json!({ "of": "two.test", "all": ["10.0.0.2"] }), Verdict::Holds, json!(["10.0.0.1", "10.0.0.2"])),
        (
            json!({ "of": "two.test", "all": ["10.0.0.2", "10.0.0.3"] }),
            Verdict::Absent,
            json!(["10.0.0.1", "10.0.0.2"]),
        ),
        (
            json!({ "of": "two.test", "any": ["10.0.0.2", "10.0.0.3"] }),
            Verdict::Holds,
            json!(["10.0.0.1", "10.0.0.2"]),
        ),
        (json!({ "of": "six.test", "type": "AAAA", "all": ["0:0::1"] }), Verdict::Holds, json!(["::1"])),
        (json!({ "of": "two.test", "type": "AAAA" }), Verdict::Absent, json!([])),
        (
            json!({ "of": "alias.test", "type": "CNAME", "all": ["two.test."] }),
            Verdict::Holds,
            json!(["two.test"]),
        ),
        (json!({ "of": "alias.test", "all": ["10.0.0.1"] }), Verdict::Holds, json!(["10.0.0.1"])),
        (
            json!({ "of": "text.test", "type": "TXT", "any": ["v=spf1 -all"] }),
            Verdict::Holds,
            json!(["v=spf1 -all"]),
        ),
        (json!({ "of": "long.test" }), Verdict::Holds, json!(["10.0.0.9"])),
        (json!({ "of": "gone.test" }), Verdict::Absent, json!([])),
        (json!({ "of": "gone.test", "absent": true }), Verdict::Holds, json!([])),
    ] {
        let answer = look(fields.clone()).await;
        assert_eq!((answer.verdict, &answer.facts["records"]), (verdict, &records), "{fields} {answer:?}");
    }
    assert!(asked.load(Ordering::SeqCst) > 1);
    let broken = look(json!({ "of": "broken.test" })).await;
    assert_eq!(broken.verdict, Verdict::Unknown, "{broken:?}");
    assert!(broken.reason.contains("ServerFailure"), "{}", broken.reason);
    let nobody = Port::held();
    let server = format!("127.0.0.1:{}", nobody.number());
    let mut nobody = world.look(json!({ "name": "dns", "server": server }));
    nobody.operation.fields.insert("name".to_owned(), json!("two.test"));
    let nobody = world.checks.look(nobody).await;
    assert_eq!(nobody.verdict, Verdict::Unknown, "{nobody:?}");
}
