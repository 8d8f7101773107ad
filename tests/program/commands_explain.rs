//! Goal: `graph`, `why` and `rollback --dry-run` tell the truth about a plan or a run, whole, and change nothing.
//! Method: the binary from outside on journals that it made itself; whole screens as snapshots.

#![expect(clippy::unwrap_used, reason = "a test")]

use crate::support::conforms;
use crate::worlds_support;

use conforms::assert_described;
use worlds_support::*;

/// Everything that a graph shows: a gate, a soak, an added edge, a verify-only step, an irreversible one, labels that
/// try to be more than that, and a step whose id is a word of Mermaid.
const EVERYTHING: &str = r#"
[vars]
id = 110

[resources."client:x"]
owners = ["old", "new"]
held_at_start = "old"
gone.old = [{ check = "command", argv = ["true"] }]
gone.new = [{ check = "command", argv = ["true"] }]

[[step]]
id = "end"
summary = 'say "hi" \n; <b>{{ vars.id }}</b> #1 | [x]'
forward = { action = "command", argv = ["true"] }
compensate = "nothing"

[[step]]
id = "stop-old"
needs = []
approve = 'Stop "old"? \ really, and with a question that is much longer than one line of a box'
frees = { "client:x" = "old" }
forward = { action = "command", argv = ["true"] }
compensate = { action = "command", argv = ["true"] }

[[step]]
id = "start-new"
needs = ["end"]
takes = { "client:x" = "new" }
forward = { action = "command", argv = ["true"] }
compensate = { action = "command", argv = ["true"] }

[[step]]
id = "look"
verify = [{ check = "command", argv = ["true"] }]

[[step]]
id = "soak"
soak = { for = "3d", every = "5m" }
verify = [{ check = "command", argv = ["true"] }]

[[step]]
id = "delete-old"
needs = ["soak", "look"]
approve = "Delete {{ vars.id }}?"
forward = { action = "command", argv = ["true"] }
irreversible = "the disk is gone"
"#;

/// A label and what surrounds it: nothing in it ends the string that holds it.
fn dot_is_sound(text: &str) {
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("digraph \"") && first.ends_with("\" {"), "{first}");
    let mut closed = false;
    for line in lines {
        assert!(!closed, "{line}");
        if line == "}" {
            closed = true;
            continue;
        }
        // Outside of strings only these characters stand; strings end where they should.
        let (mut inside, mut escaped, mut outside) = (false, false, String::new());
        for c in line.chars() {
            match (inside, escaped, c) {
                (true, true, _) => escaped = false,
                (true, false, '\\') => escaped = true,
                (_, _, '"') => inside = !inside,
                (false, _, _) => outside.push(c),
                (true, false, _) => {}
            }
        }
        assert!(!inside && line.starts_with("    ") && line.ends_with(';'), "{line}");
        assert!(outside.chars().all(|c| c.is_ascii_alphanumeric() || " [](){},=.->;".contains(c)), "{line}");
    }
    assert!(closed, "{text}");
}

/// Every line of a Mermaid flowchart is a node, an arrow between nodes that exist, or a class.
fn mermaid_is_sound(text: &str) {
    let mut nodes = std::collections::BTreeSet::new();
    let body = text.split_once("\nflowchart TD\n").unwrap().1;
    let is_name = |word: &str| {
        word.starts_with(['s', 'g']) && word.len() > 1 && word[1..].bytes().all(|b| b.is_ascii_digit())
    };
    let arrows: Vec<&str> =
        body.lines().filter(|line| line.contains("-->") || line.contains("-.->")).collect();
    for line in body.lines().filter(|line| !line.starts_with("    classDef ") && !arrows.contains(line)) {
        let line = line.strip_prefix("    ").unwrap();
        let (name, rest) = line.split_at(line.find(['[', '(', '{']).unwrap());
        assert!(is_name(name) && nodes.insert(name.to_owned()), "{line}");
        let rest = rest.trim_end_matches(":::gate").trim_end_matches(":::irreversible");
        let label = ["[\"", "(\"", "{\"", "([\""]
            .iter()
            .zip(["\"]", "\")", "\"}", "\"])"])
            .find_map(|(open, close)| rest.strip_prefix(open)?.strip_suffix(close));
        let label = label.unwrap_or_else(|| panic!("{line}")).replace("<br/>", "");
        assert!(!label.contains(['"', '<', '>', '{', '}', '[', ']', '|', '\\', '`']), "{label}");
        for code in label.split('#').skip(1) {
            let name = code.split_once(';').unwrap_or_else(|| panic!("{label}")).0;
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{label}");
        }
    }
    for line in arrows {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() == 3 && nodes.contains(words[0]) && nodes.contains(words[2]), "{line}");
    }
}

#[test]
fn a_graph_in_both_languages() {
    let house = House::new();
    house.plan("all", EVERYTHING);
    let mermaid = house.run(&["graph", "plans/all.toml"]);
    assert_eq!(mermaid.code, 0, "{mermaid:?}");
    mermaid_is_sound(&mermaid.out);
    settings().bind(|| insta::assert_snapshot!("graph_mermaid", house.shown(&mermaid)));

    let dot = house.run(&["graph", "plans/all.toml", "--format", "dot"]);
    assert_eq!(dot.code, 0, "{dot:?}");
    dot_is_sound(&dot.out);
    settings().bind(|| insta::assert_snapshot!("graph_dot", house.shown(&dot)));
    assert!(!house.path.join("state").exists(), "nothing but the plan is read");
}

#[test]
fn graphviz_draws_the_graph() {
    let house = House::new();
    house.plan("all", EVERYTHING);
    if house.shell("command -v dot").code != 0 {
        skipped("there is no `dot`, so only the structure of its input is checked");
        return;
    }
    let mut drawn = house.shell("$R graph plans/all.toml --format dot | dot -Tsvg");
    // Graphviz writes a hyphen by its number.
    drawn.out = drawn.out.replace("&#45;", "-");
    assert_eq!((drawn.code, drawn.err.as_str()), (0, ""), "{drawn:?}");
    for word in ["stop-old", "say &quot;hi&quot; \\n;", "irreversible: the disk is gone"] {
        assert!(drawn.out.contains(word), "{word}: {}", drawn.out);
    }
}

#[test]
fn a_graph_for_programs() {
    let house = House::new();
    house.plan("all", EVERYTHING);
    let said = house.run(&["--json", "graph", "plans/all.toml"]);
    let all = objects(&said.out);
    assert_described(&all);
    let graph = &all[0];
    assert_eq!(graph["text"].as_str().unwrap(), house.run(&["graph", "plans/all.toml"]).out);
    let added: Vec<_> =
        graph["edges"].as_array().unwrap().iter().filter(|e| !e["added_for"].is_null()).collect();
    assert_eq!(added.len(), 1, "{graph}");
    assert_eq!((&added[0]["from"], &added[0]["to"]), (&"stop-old".into(), &"start-new".into()));
}

#[test]
fn a_graph_of_a_plan_that_is_not_valid() {
    let house = House::new();
    house.plan(
        "bad",
        "[[step]]\nid = \"a\"\nneeds = [\"b\"]\nforward = { action = \"command\", argv = [\"x\"] }\n",
    );
    let said = house.run(&["graph", "plans/bad.toml"]);
    assert_eq!(said.code, 2);
    assert!(said.out.is_empty() && said.err.contains("plans/bad.toml:4:"), "{said:?}");
    assert_eq!(house.run(&["graph", "plans/none.toml"]).code, 2);
}
