use super::*;
use serde_json::json;

fn with<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let vars = BTreeMap::from([
        ("vmid".to_owned(), json!(110)),
        ("name".to_owned(), json!("it's")),
        ("on".to_owned(), json!(true)),
        ("list".to_owned(), json!([1, 2])),
    ]);
    let outputs = BTreeMap::from([(
        StepId::new("stop-old").unwrap(),
        Map::from_iter([("ip".to_owned(), json!("10.0.0.7"))]),
    )]);
    let secrets = BTreeMap::from([("token".to_owned(), "hunter2".to_owned())]);
    run(&Scope { vars: &vars, outputs: &outputs, run: "frigate-1", secrets: Secrets::Values(&secrets) })
}

#[test]
fn one_expression_keeps_its_type() {
    with(|scope| {
        let value = json!({ "a": "{{ vars.vmid }}", "b": ["{{ vars.on }}", "{{ vars.list }}"], "c": "x{{ vars.vmid }}", "d": 4 });
        assert_eq!(
            render(&value, scope).unwrap(),
            json!({ "a": 110, "b": [true, [1, 2]], "c": "x110", "d": 4 })
        );
        assert_eq!(render_text("{{ vars.vmid }}\n", scope).unwrap(), "110\n");
        assert_eq!(
            render_text("{{ steps.stop-old.outputs.ip }} {{ run.id }}", scope).unwrap(),
            "10.0.0.7 frigate-1"
        );
        assert_eq!(render_text("<b> & {{ vars.name }}", scope).unwrap(), "<b> & it's");
    });
}

#[test]
fn everything_undefined_is_an_error() {
    with(|scope| {
        for text in [
            "{{ vars.nope }}",
            "{{ nope }}",
            "{{ steps.other.outputs.ip }}",
            "{{ steps.stop-old.outputs.nope }}",
            "x{{ steps.stop-old.outputs.nope }}",
            "{{ secrets.nope }}",
            "{{ run.nope }}",
            "{{ vars }}",
            "{{ debug() }}",
        ] {
            assert!(render(&json!(text), scope).is_err(), "{text}");
        }
    });
}

#[test]
fn booleans_and_nothing_else_decide() {
    with(|scope| {
        assert_eq!(render_bool(&json!(false), scope), Ok(false));
        assert_eq!(render_bool(&json!("{{ vars.vmid > 100 }}"), scope), Ok(true));
        assert_eq!(
            render_bool(&json!("{{ vars.vmid }}"), scope).unwrap_err().reason,
            "it gives an integer, not a boolean"
        );
    });
}

#[test]
fn a_shell_sees_one_word() {
    with(|scope| {
        assert_eq!(render_text("echo {{ vars.name | shell_quote }}", scope).unwrap(), "echo 'it'\\''s'");
        assert!(render_text("{{ vars.list | shell_quote }}", scope).is_err());
    });
}

#[test]
fn runaway_templates_end() {
    with(|scope| {
        for text in [
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
            "{{ 'x' * 100000000 }}",
            "{{ 'x' * 1100000 }}",
            "x{{ 'x' * 1100000 }}",
        ] {
            assert!(render(&json!(text), scope).is_err(), "{text}");
        }
    });
}

#[test]
fn errors_do_not_tell_secrets() {
    with(|scope| {
        for text in [
            "{{ secrets.token + 1 }}",
            "{{ secrets.token | int }}",
            "{{ [1][secrets.token] }}",
            "{{ secrets.token.x.y }}",
        ] {
            let error = render(&json!(text), scope).unwrap_err();
            assert!(!error.to_string().contains("hunter"), "{error}");
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
        assert!(!format!("{scope:?}").contains("hunter"));
        let masked = Scope { secrets: Secrets::Masked, ..*scope };
        assert_eq!(render_text("a {{ secrets.token }}", &masked).unwrap(), "a <secret token>");
    });
}

#[test]
fn fields_become_what_they_should_be() {
    use crate::plan::recorded::Operation;
    with(|scope| {
        let operation = |fields: Value| Operation {
            name: "command".to_owned(),
            fields: fields.as_object().unwrap().clone(),
        };
        let rendered = render_operation(
            &operation(json!({ "argv": ["echo", "{{ vars.vmid }}"], "env": { "ON": "{{ vars.on }}" } })),
            scope,
        );
        assert_eq!(rendered.unwrap(), operation(json!({ "argv": ["echo", "110"], "env": { "ON": "true" } })));
        let wrong = render_operation(&operation(json!({ "argv": ["echo", "{{ vars.list }}"] })), scope);
        assert!(wrong.unwrap_err().reason.contains("one of its items is an array"));
        let rendered = render_operation(&operation(json!({ "argv": "{{ vars.list }}" })), scope);
        assert_eq!(rendered.unwrap(), operation(json!({ "argv": ["1", "2"] })));
        let none = render_operation(&operation(json!({ "argv": [] })), scope);
        assert!(none.unwrap_err().reason.contains("takes an array of strings"));
        // Cameras that are known to be down: there may be none.
        let none = Operation { name: "frigate".to_owned(), ..operation(json!({ "known_bad": [] })) };
        assert_eq!(render_operation(&none, scope).unwrap(), none);
    });
}

#[test]
fn names_the_secrets_a_value_needs() {
    let value = json!({ "a": ["{{ secrets.x }}", { "b": "t {{ secrets['y'] | upper }}" }], "c": "{% raw %}{{ secrets.z }}{% endraw %}" });
    assert_eq!(secrets_in(&value).into_iter().collect::<Vec<_>>(), ["x", "y"]);
}
