//! Goal: every kind of invalid plan tells what is wrong, where, and what would be right. Method: one small plan for
//! each kind, its diagnostics as a snapshot to be read like code.

use crate::support::json_schema;

use runner::plan::{Loaded, Request, Required, load};

const READ: &dyn Fn(&str) -> Result<Vec<u8>, String> = &|path| match path {
    "/plans/known.sh" => Ok(b"echo".to_vec()),
    _ => Err("no such file".to_owned()),
};

fn read(text: &[u8], vars: &[(&str, &str)], var_files: &[(&str, &str)]) -> Result<Loaded, String> {
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let (vars, var_files) = (own(vars), own(var_files));
    let request = Request {
        path: "/plans/plan.toml",
        text,
        vars: &vars,
        var_files: &var_files,
        given: &std::collections::BTreeMap::new(),
        required: Required::MustBeGiven,
        read: READ,
    };
    let result = load(&request);
    agrees(text, &result, vars.is_empty() && var_files.is_empty());
    result.map_err(|errors| errors.render(false, 100))
}

/// What the schema must see as well as the loader does: everything that one place of the file says by itself.
const STRUCTURAL: [&str; 12] = [
    "unknown-key",
    "wrong-type",
    "unknown-word",
    "missing-key",
    "unknown-action",
    "unknown-check",
    "bad-percent",
    "bad-time",
    "bad-day",
    "bad-output",
    "secret-in-plan",
    "wrong-kind",
];

/// Every diagnostic says what next, and the JSON Schema takes every plan that is taken and refuses what it can see.
#[track_caller]
fn agrees(text: &[u8], result: &Result<Loaded, runner::plan::Diagnostics>, alone: bool) {
    for error in result.as_ref().err().into_iter().flat_map(runner::plan::Diagnostics::iter) {
        assert!(error.help.as_ref().is_some_and(|help| !help.ends_with('.')), "what next? {error}");
        assert!(!error.message.ends_with('.'), "{error}");
    }
    let document = std::str::from_utf8(text).ok().and_then(|text| toml::from_str(text).ok());
    let Some(document): Option<serde_json::Value> = document.filter(|_| alone) else { return };
    let schema = runner::plan::schema();
    let valid = json_schema::Judge { schema: &schema, strict: false }.judge(&document);
    match result {
        Ok(_) => assert_eq!(valid, Ok(()), "the loader takes it"),
        Err(errors) => {
            let seen = errors.iter().find(|error| STRUCTURAL.contains(&error.code));
            let seen = seen.filter(|error| !ACROSS.iter().any(|across| error.message.contains(across)));
            if let (Some(error), Ok(())) = (seen, &valid) {
                panic!("the schema does not see {error}");
            }
        }
    }
}

/// What the loader calls by such a code and only sees across several keys, or in what JSON does not have.
const ACROSS: [&str; 3] = ["a soak needs `verify`", "a password must not stand", "a date must be written"];

/// A plan with one good step, to which the cases add.
const HEAD: &str = "name = \"p\"\n";
const GOOD: &str = r#"[[step]]
id = "a"
forward = { action = "command", argv = ["true"] }
compensate = "nothing"
"#;

/// One step with these lines in addition.
fn step(lines: &str) -> String {
    format!("{HEAD}{GOOD}{lines}\n")
}

/// One step with this `forward`, below these sections.
fn forward(sections: &str, fields: &str) -> String {
    format!("{HEAD}{sections}[[step]]\nid = \"a\"\nforward = {{ {fields} }}\ncompensate = \"nothing\"\n")
}

#[track_caller]
fn check(name: &str, text: &str) {
    check_with(name, text, &[], &[]);
}

#[track_caller]
fn check_with(name: &str, text: &str, vars: &[(&str, &str)], var_files: &[(&str, &str)]) {
    match read(text.as_bytes(), vars, var_files) {
        Ok(_) => panic!("`{name}` was taken:\n{text}"),
        Err(shown) => insta::assert_snapshot!(name, shown),
    }
}

#[test]
fn the_good_plan_is_good() {
    read(step("").as_bytes(), &[], &[]).unwrap();
    read(forward("", r#"action = "command", script_file = "known.sh""#).as_bytes(), &[], &[]).unwrap();
}

#[test]
fn the_file_itself() {
    for (name, text) in
        [("not_utf8", &b"name = \"p\"\nx = \"\xff\""[..]), ("nul_byte", b"name = \"p\"\n\0"), ("empty", b"")]
    {
        insta::assert_snapshot!(name, read(text, &[], &[]).unwrap_err());
    }
    insta::assert_snapshot!("too_big", read(&vec![b' '; 5 << 20], &[], &[]).unwrap_err());
    let with_mark = format!("\u{feff}{}", step(""));
    read(with_mark.as_bytes(), &[], &[]).unwrap();
}

#[test]
fn toml() {
    check("toml_syntax", "name = \"p\nsteps = = 3\n[[step]\n");
    check("toml_duplicate_key", &step("id = \"b\"\nbogus = 1"));
}

#[test]
fn the_plan() {
    check("plan_without_anything", "description = \"x\"\n");
    check("plan_without_steps", "name = \"p\"\n");
    check("plan_bad_name", &step("").replace("\"p\"", "\"My Plan\""));
    check("plan_unknown_key", &format!("paralelism = 4\n{}", step("")));
    check("plan_parallelism_zero", &format!("parallelism = 0\n{}", step("")));
    check("plan_on_failure", &format!("on_failure = \"undo\"\n{}", step("")));
    check("plan_steps_with_one_bracket", "name = \"p\"\n[step]\nid = \"a\"\n");
}

#[test]
fn variables() {
    let with = |vars: &str| format!("{HEAD}[vars]\n{vars}\n{GOOD}");
    check("var_required", &with(r#"site = { required = "string" }"#));
    check("var_required_type", &with(r#"site = { required = "int" }"#));
    check("var_name", &with("my-site = 1"));
    check("var_date", &with("day = 2026-01-01"));
    check("var_with_template", &with("a = 1\nb = \"{{ vars.a }}\""));
    check_with("var_unknown_option", &with("site = \"x\""), &[("sight", "y")], &[]);
    let options = [("a", "x"), ("b", "yes"), ("c", "1,2")];
    check_with("var_option_types", &with("a = 1\nb = true\nc = [1]"), &options, &[]);
    let files = [("/v.toml", "a = \"x\"\nc = 2\n"), ("/w.toml", "a = = 1")];
    check_with("var_file", &with("a = 1"), &[], &files);
}

#[test]
fn sections() {
    let with = |section: &str| format!("{HEAD}{section}\n{GOOD}");
    check("secret_in_plan", &with("[secrets]\ntoken = \"hunter2\""));
    let sources = "[secrets]\na = {}\nb = { env = \"A\", file = \"b\" }\nc = { envv = \"C\" }";
    check("secret_without_source", &with(sources));
    let hosts = "[hosts.a]\nuser = \"root\"\n[hosts.b]\naddress = \"b\"\nport = 70000";
    check("host_without_address", &with(hosts));
    check("broker", &with("[brokers.a]\nurl = \"http://a\"\npassword = \"hunter2\""));
    check("cluster_unknown_key", &with("[clusters.a]\ncontxt = \"x\""));
    let resource = r#"[resources.x]
owners = ["old", "new", "new"]
held_at_start = "odl"
gone.neu = [{ check = "command", argv = ["x"] }]
gone.old = { check = "command" }"#;
    check("resource_owners", &with(resource));
}

#[test]
fn ids_and_needs() {
    let looks = "[[step]]\nverify = [{ check = \"command\", argv = [\"x\"] }]\n";
    check("step_without_id", &format!("{HEAD}{looks}"));
    check("step_bad_id", &step("").replace("\"a\"", "\"Stop Old\""));
    check("step_duplicate_id", &format!("{HEAD}{GOOD}{GOOD}"));
    let start = GOOD.replace("\"a\"", "\"start\"");
    check("needs_unknown", &format!("{HEAD}{start}{GOOD}needs = [\"strat\"]\n"));
    check("needs_itself", &step("needs = [\"a\", \"a\"]"));
    check("needs_a_string", &step("needs = \"b\""));
    let one = GOOD.replace("\"a\"", "\"one\"\nneeds = [\"three\"]");
    let two = GOOD.replace("\"a\"", "\"two\"");
    let three = GOOD.replace("\"a\"", "\"three\"");
    check("needs_in_a_circle", &format!("{HEAD}{one}{two}{three}"));
}

#[test]
fn words_of_other_tools() {
    let elsewhere = "name = \"b\"\ndescription = \"x\"\nif = true\ndepends_on = [\"a\"]\nrun = \"x\"\nundo = \"x\"\nrollback = \"x\"\n";
    check("elsewhere_step", &step(elsewhere));
    check("elsewhere_action", &forward("", r#"action = "shell", script = "x""#));
    check("elsewhere_field", &forward("", r#"action = "command", cmd = "x", workdir = ".""#));
    check("forward_a_string", &step("").replace(r#"{ action = "command", argv = ["true"] }"#, "\"echo hi\""));
    check("argv_a_string", &forward("", r#"action = "command", argv = "echo hi""#));
    let soak = "[[step]]\nid = \"s\"\nsoak = { for = \"3d\", every = \"5m\", max_failures = 1 }\n";
    check("elsewhere_soak", &format!("{HEAD}{soak}verify = [{{ check = \"command\", argv = [\"x\"] }}]\n"));
}

#[test]
fn what_a_step_has() {
    check("step_unknown_key", &step("verfy = []\ndescription = \"x\""));
    check("step_does_nothing", &format!("{HEAD}[[step]]\nid = \"a\"\nverify = []\n"));
    check("no_compensation", &step("").replace("compensate = \"nothing\"\n", ""));
    check("compensation_and_irreversible", &step("irreversible = \"gone is gone\""));
    check("compensation_word", &step("").replace("\"nothing\"", "\"none\""));
    check("compensation_irreversible_inside", &step("").replace("\"nothing\"", "{ irreversible = \"why\" }"));
    let no_reason = step("").replace("compensate = \"nothing\"", "irreversible = \" \"");
    check("irreversible_without_reason", &no_reason);
    let looks = r#"[[step]]
id = "a"
verify = [{ check = "command", argv = ["x"] }]
compensate = "nothing"
retry = { attempts = 2 }
probe = { check = "command", argv = ["x"] }
undone = []
"#;
    check("verify_only", &format!("{HEAD}{looks}"));
    let types = "summary = 3\ntimeout = 300\nidempotent = \"yes\"\nverify = \"x\"\nwindow = []";
    check("wrong_types", &step(types));
    let durations =
        "timeout = \"5\"\nverify_within = \"0s\"\nverify = []\nundone = []\nundone_within = \"30m1h\"";
    check("durations", &step(durations));
    let retry = r#"retry = { attempts = 0, backoff = "2m", max_backoff = "1m", on = "undone" }"#;
    check("retry", &step(retry));
    check("evidence_without_approve", &step("evidence = []\napprove_expires = \"1h\"\nrollback_ready = []"));
    let window = r#"window = { days = "mon-fry", from = "2:00", to = 05:00:00, zone = "Europe/Berln" }"#;
    check("window", &step(window));
    check("window_incomplete", &step("window = { days = [] }"));
    check("when", &step("when = \"vars.x\""));
    let when = format!("{HEAD}[vars]\nx = 1\n{GOOD}when = \"{{{{ vars.x }}}}\"\n");
    check("when_not_boolean", &when);
}

#[test]
fn soaks() {
    let with = |soak: &str| {
        format!(
            "{HEAD}[[step]]\nid = \"s\"\nsoak = {soak}\nverify = [{{ check = \"command\", argv = [\"x\"] }}]\n"
        )
    };
    check("soak_incomplete", &with("{}"));
    let values =
        r#"{ for = "3d", every = "5m", max_gap = "1m", error_budget = "1", coverage = 90, on_gap = "wait" }"#;
    check("soak_values", &with(values));
    check("soak_shorter_than_a_sample", &with(r#"{ for = "1m", every = "5m" }"#));
    let no_verify = "[[step]]\nid = \"s\"\nsoak = { for = \"3d\", every = \"5m\" }\n";
    check("soak_without_verify", &format!("{HEAD}{no_verify}"));
    let both = "soak = { for = \"3d\", every = \"5m\" }\nverify = [{ check = \"command\", argv = [\"x\"] }]";
    check("soak_and_forward", &step(both));
}

#[test]
fn actions_and_checks() {
    let case = |name: &str, fields: &str| check(name, &forward("", fields));
    case("action_unknown", r#"action = "comand", argv = ["x"]"#);
    case("action_not_built_in", r#"action = "lxc.freeze", host = "x""#);
    case("action_missing", r#"argv = ["x"]"#);
    case("check_as_action", r#"check = "command", argv = ["x"]"#);
    case("action_unknown_field", r#"action = "command", argv = ["x"], stdn = "", timeout = "3s""#);
    case("action_without_what_runs", r#"action = "command", cwd = ".""#);
    case("action_argv_and_script", r#"action = "command", argv = ["x"], script = "x""#);
    case(
        "action_argv_types",
        r#"action = "command", argv = ["sleep", 5], env = { "A-B" = 1 }, on_stop = "kill""#,
    );
    case("action_argv_empty", r#"action = "command", argv = []"#);
    case("host_missing", r#"action = "ssh", argv = ["x"]"#);
    case("file_unreadable", r#"action = "command", script_file = "gone.sh""#);
    let outputs = r#"outputs = { a = "json", "b-c" = "text", d = "/x~2" }"#;
    case("outputs", &format!(r#"action = "command", argv = ["x"], {outputs}"#));
    let host = "[hosts.still-fawn]\naddress = \"x\"\n";
    check("host_unknown", &forward(host, r#"action = "ssh", host = "stil-fawn", argv = ["x"]"#));
    let probe = r#"probe = { check = "command", argv = ["x"], absent_on = [0, 300, "2"], timeout = "soon" }"#;
    check("absent_on", &step(probe));
}

#[test]
fn files_and_requests() {
    let sections = "[secrets]\ntoken = { env = \"T\" }\n[hosts.box]\naddress = \"box\"\n";
    let case = |name: &str, fields: &str| check(name, &forward(sections, fields));
    case("file_without_content", r#"action = "file", path = "f""#);
    case("file_content_and_source", r#"action = "file", path = "f", content = "", source = "known.sh""#);
    case("file_mode", r#"action = "file", path = "f", content = "", mode = "rw-r--r--""#);
    case("file_mode_of_nothing", r#"action = "file", path = "f", absent = true, mode = "0644""#);
    case("file_path_on_host", r#"action = "file", host = "box", path = "etc/motd", content = """#);
    case("file_path_home", r#"action = "file", path = "~/motd", content = """#);
    case("file_path_folder", r#"action = "file", path = "a/", content = """#);
    case("http_url", r#"action = "http", url = "www.example.com""#);
    case("http_url_user", r#"action = "http", url = "http://me:pw@example.com""#);
    case("http_url_secret", r#"action = "http", url = "http://x/?token={{ secrets.token }}""#);
    case("http_method", r#"action = "http", url = "http://x", method = "post""#);
    case("http_headers", r#"action = "http", url = "http://x", headers = { "a b" = "", Host = "y", X = 1 }"#);
    case("http_two_bodies", r#"action = "http", url = "http://x", body = "", body_json = {}"#);
    case("http_status", r#"action = "http", url = "http://x", status = [200, 99, "ok"]"#);
    case("http_outputs", r#"action = "http", url = "http://x", outputs = { a = "json", b = "header:a b" }"#);
    case("http_redirects", r#"action = "http", url = "http://x", redirects = 11"#);
    case(
        "http_comparisons",
        r#"action = "http", url = "http://x", json = { "version" = 1, "/a" = { atleast = 1 }, "/b" = { at_least = "x" }, "/c" = {}, "/d" = { matches = "(" } }"#,
    );
    let verify = |name: &str, fields: &str| check(name, &step(&format!("verify = [{{ {fields} }}]")));
    verify("file_sha256", r#"check = "file", path = "f", sha256 = "abc""#);
    verify("file_two_contents", r#"check = "file", path = "f", contains = "a", absent = true"#);
    verify("tcp_address", r#"check = "tcp", address = "localhost""#);
    verify("dns_server", r#"check = "dns", name = "a", server = "ns.example.com", type = "MX""#);
}

#[test]
fn templates() {
    let sections = "[vars]\nsite = { name = \"x\" }\n[secrets]\ntoken = { env = \"T\" }\n";
    let with = |argv: &str| forward(sections, &format!(r#"action = "command", argv = [{argv}]"#));
    check("template_syntax", &with(r#""{{ vars.site ", "{{.Names}}", "{% if %}""#));
    let unknown = r#""{{ vars.sight }}", "{{ vars.site.nam }}", "{{ site }}", "{{ secrets.tokn }}", "{{ run.name }}", "{{ vars }}""#;
    check("template_unknown_names", &with(unknown));
    check("template_secret_in_argv", &with(r#""--token={{ secrets.token }}""#));
    check("template_fails", &with(r#""{{ vars.site + 1 }}""#));
    let script = r#"action = "command", script = "echo {{ vars.site.name }}""#;
    check("template_in_script", &forward(sections, script));
    let texts = r#"summary = "{{ secrets.token }}"
when = "{{ secrets.token == 'x' }}"
approve = "{{ secrets.token }}?"
"#;
    check("template_secret_in_texts", &format!("{HEAD}{sections}{GOOD}{texts}"));
}

#[test]
fn outputs_of_steps() {
    let two = |first: &str, second: &str| {
        let first_step = r#"[[step]]
id = "first"
compensate = "nothing"
forward = { action = "command", argv = ["x"], outputs = { url = "text" } }
"#;
        let second_step = r#"
[[step]]
id = "second"
compensate = "nothing"
forward = { action = "command", argv = ["{{ REFERENCE }}"] }
"#;
        format!("{HEAD}{first_step}{first}{}", second_step.replace("REFERENCE", second))
    };
    let good = two("", "steps.first.outputs.url");
    read(good.as_bytes(), &[], &[]).unwrap();
    check("output_unknown", &two("", "steps.first.outputs.ulr"));
    check("output_of_unknown_step", &two("", "steps.frist.outputs.url"));
    check("output_of_no_ancestor", &good.replace("id = \"second\"", "id = \"second\"\nneeds = []"));
    check("output_of_itself", &two("", "steps.second.outputs.url"));
    let probe = "probe = { check = \"command\", argv = [\"x\"] }";
    check("output_not_in_probe", &two(probe, "steps.first.outputs.url"));
    check("output_spelled_wrong", &two("", "steps.first.url"));
    let path = good.replace("argv = [\"{{", "argv = [\"x\"], cwd = \"{{").replace("}}\"]", "}}\"");
    check("output_in_a_path", &path);
}

#[test]
fn resources() {
    const RESOURCE: &str = r#"[resources.x]
owners = ["old", "new"]
held_at_start = "old"
gone.old = [{ check = "command", argv = ["x"] }]
gone.new = [{ check = "command", argv = ["x"] }]
"#;
    const FREES: &str = "frees = { x = \"old\" }";
    const TAKES: &str = "takes = { x = \"new\" }";
    let plan = |resource: &str, steps: &[&str]| {
        let steps = steps.iter().enumerate().map(|(at, lines)| {
            let step = GOOD.replace("\"a\"", &format!("\"s{at}\""));
            format!("{step}{lines}\n")
        });
        format!("{HEAD}{resource}{}", steps.collect::<String>())
    };
    assert!(read(plan(RESOURCE, &[FREES, TAKES]).as_bytes(), &[], &[]).unwrap().notes.is_empty());
    let freely = "needs = []\ntakes = { x = \"new\" }";
    let added = read(plan(RESOURCE, &[FREES, freely]).as_bytes(), &[], &[]).unwrap();
    assert_eq!(added.definition.steps[1].needs, [added.definition.steps[0].id.clone()]);
    insta::assert_snapshot!("resource_edge_added", added.notes[0].render(false, 100));
    check("resource_unknown", &plan("", &[FREES]));
    check("resource_unknown_owner", &plan(RESOURCE, &["frees = { x = \"odl\" }"]));
    check("resource_without_gone", &plan(&RESOURCE.replace("gone.old", "#"), &[FREES, TAKES]));
    check("resource_never_freed", &plan(RESOURCE, &[TAKES]));
    check("resource_freed_too_late", &plan(RESOURCE, &[TAKES, FREES]));
    check("resource_rollback_order", &plan(RESOURCE, &[FREES, TAKES, FREES]));
    check("resource_not_held", &plan(RESOURCE, &["frees = { x = \"new\" }"]));
}

#[test]
fn all_at_once_and_in_order() {
    let lines = "timeout = \"x\"\nsummary = \"{{ nope }}\"\n[[step]]\nid = \"a\"\nneeds = [\"b\"]\n";
    let text = format!("{HEAD}bogus = 1\n{GOOD}{lines}");
    let errors = load(&Request {
        path: "/p.toml",
        text: text.as_bytes(),
        vars: &[("v".to_owned(), "1".to_owned())],
        var_files: &[],
        given: &std::collections::BTreeMap::new(),
        required: Required::MustBeGiven,
        read: READ,
    })
    .unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.code, error.line, error.column)).collect();
    assert_eq!(
        found,
        [
            ("unknown-key", 2, 1),
            ("bad-duration", 7, 11),
            ("unknown-name", 8, 15),
            ("duplicate-id", 10, 6),
            ("nothing-to-do", 10, 6),
            ("unknown-step", 11, 10),
            ("unknown-variable", 1, 7),
        ]
    );
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[0]["code"], "unknown-key");
    assert_eq!(json[0]["line"], 2);
}

#[test]
fn looks_that_are_compared() {
    let soak = |check: &str| {
        let check =
            format!("{{ check = \"command\", argv = [\"x\"], outputs = {{ uptime = \"text\" }}, {check} }}");
        format!("{HEAD}[[step]]\nid = \"s\"\nsoak = {{ for = \"3d\", every = \"5m\" }}\nverify = [{check}]\n")
    };
    check("watch_unknown_fact", &soak(r#"watch = { uptme = "rises" }"#));
    check("watch_unknown_word", &soak(r#"watch = { uptime = "rise", exit = 0 }"#));
    check(
        "watch_rules",
        &soak(
            r#"watch = { uptime = { at_most_more = 1, at_least_more = 1 }, exit = { within = "1h" }, stdout = { is = "same", within = "1h", against = "first" } }"#,
        ),
    );
    check(
        "watch_values",
        &soak(
            r#"watch = { uptime = { at_least_more = 0, against = "begin" }, exit = { at_most_more = 1, within = "1m" } }"#,
        ),
    );
    check("watch_empty", &soak("watch = {}"));
    check("holds_values", &soak(r#"holds = "5 of 3""#));
    check("holds_type", &soak("holds = 3"));
    check(
        "watch_not_in_verify",
        &step(
            r#"undone = [{ check = "command", argv = ["x"], watch = { exit = "same" }, holds = "1 of 2" }]"#,
        ),
    );
    check("watch_key", &soak(r#"wach = { uptime = "rises" }"#));
    let good =
        soak(r#"watch = { uptime = "rises", exit = { at_most_more = 0, within = "1h" } }, holds = "3 of 5""#);
    let step = read(good.as_bytes(), &[], &[]).unwrap().definition.steps[0].clone();
    insta::assert_snapshot!("watch_recorded", serde_json::to_string_pretty(&step.verify[0].fields).unwrap());
}
