//! What templates refer to: every name exists, every output can be had, and secrets stand only where nobody sees them.

use std::collections::HashMap;

use super::Loader;
use super::texts::{Kept, Use};
use crate::plan::diagnostic::{Span, did_you_mean, help_for};
use crate::plan::graph::Graph;
use crate::plan::id::StepId;
use crate::plan::template::lex::{self, Lexed, Reference};
use crate::plan::template::{self, Scope, Secrets};

/// Steps looked at on the way from a user to what it uses, before everything behind the latter is found out once
/// and for all. Most outputs are used nearby.
const NEARBY: usize = 64;

/// Answers whether one step always comes before another, cheaply for many questions.
struct Before<'g> {
    graph: &'g Graph,
    /// The place of each step in the order.
    place: Vec<usize>,
    /// By step: a bit for each of its descendants.
    behind: HashMap<usize, Vec<u64>>,
}

impl<'g> Before<'g> {
    fn new(graph: &'g Graph) -> Self {
        let mut place = vec![0; graph.order().len()];
        graph.order().iter().enumerate().for_each(|(at, step)| place[*step] = at);
        Self { graph, place, behind: HashMap::new() }
    }

    fn ask(&mut self, first: usize, then: usize) -> bool {
        let mut todo = vec![then];
        for _ in 0..NEARBY {
            let Some(step) = todo.pop() else { return false };
            for need in self.graph.needs(step) {
                if *need == first {
                    return true;
                }
                if self.place[*need] > self.place[first] {
                    todo.push(*need);
                }
            }
        }
        let bits = self.behind.entry(first).or_insert_with(|| {
            let mut bits = vec![0_u64; self.place.len().div_ceil(64)];
            self.graph.descendants(first).into_iter().for_each(|step| bits[step / 64] |= 1 << (step % 64));
            bits
        });
        bits[then / 64] & (1 << (then % 64)) != 0
    }
}

impl Loader<'_, '_> {
    /// Looks at every template of the plan. Without a graph nobody knows what comes before what.
    pub(super) fn check_references(&mut self, graph: Option<&Graph>) {
        let templates = std::mem::take(&mut self.templates);
        let mut before = graph.map(Before::new);
        for kept in &templates {
            if self.problems.is_full() {
                return;
            }
            let lexed = lex::lex(&kept.text);
            let count = self.problems.len();
            self.check_syntax(kept, &lexed);
            for reference in &lexed.references {
                self.check_reference(kept, reference, before.as_mut());
            }
            if self.problems.len() == count {
                self.check_value(kept, &lexed);
            }
        }
    }

    fn check_syntax(&mut self, kept: &Kept, lexed: &Lexed) {
        if let Err(why) = template::check_syntax(lexed) {
            let message = format!("the template in `{}` cannot be read: {why}", kept.using.place);
            let help = "for braces as they stand, write `{% raw %}…{% endraw %}`";
            self.problems.add_help(&kept.span, "template-syntax", message, help);
            return;
        }
        for name in template::undefined_names(lexed) {
            let message = format!("nothing is called `{name}` here");
            let help = match self.vars.values.contains_key(&name) {
                true => format!("write `vars.{name}`"),
                false => self.meant(&name),
            };
            self.problems.add_help(&self.narrow(&kept.span, &name), "unknown-name", message, help);
        }
        if kept.using.shell && !lexed.quoted {
            let message = format!("a value is spliced into the shell text of `{}`", kept.using.place);
            let help = "pass it through `env` and write \"$NAME\" in the script, or end the expression in `| shell_quote`";
            self.problems.add_help(&kept.span, "unquoted-in-shell", message, help);
        }
    }

    /// What a name may have meant that nothing is called.
    fn meant(&self, name: &str) -> String {
        if let Some(root) = did_you_mean(name, ["vars", "steps", "secrets", "run"]) {
            return format!("did you mean `{root}`?");
        }
        if let Some(near) = did_you_mean(name, self.vars.values.keys().map(String::as_str)) {
            return format!("did you mean `vars.{near}`?");
        }
        "a template can use `vars.…`, `steps.….outputs.…`, `secrets.…` and `run.id`".to_owned()
    }

    fn check_reference(&mut self, kept: &Kept, reference: &Reference, before: Option<&mut Before<'_>>) {
        let span = self.narrow(&kept.span, &kept.text[reference.span.clone()]);
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["vars", name, rest @ ..] => self.check_variable(&span, name, rest, reference.called),
            ["secrets", name, ..] => self.check_secret(&span, name, kept.using),
            ["run", "id"] => {}
            ["run", ..] => {
                self.problems.add_help(
                    &span,
                    "unknown-name",
                    "a run has nothing but `run.id` to offer",
                    "write `run.id`",
                );
            }
            ["steps", step, "outputs", output, ..] => {
                self.check_output(&span, kept, (step, output), before);
            }
            ["steps", ..] => {
                let help = "write `steps.STEP.outputs.NAME`";
                self.problems.add_help(
                    &span,
                    "unknown-name",
                    "a step has nothing but its outputs to offer",
                    help,
                );
            }
            _ => {
                let message = format!("`{}` must be followed by a name", path.join("."));
                let help = format!("write `{}.NAME`, with the name as it is", path.join("."));
                self.problems.add_help(&span, "unknown-name", message, help);
            }
        }
    }

    fn check_variable(&mut self, span: &Span, name: &str, rest: &[&str], called: bool) {
        let Some(value) = self.vars.values.get(name) else {
            let help = help_for("variables", name, self.vars.values.keys().map(String::as_str));
            self.problems.add_help(span, "unknown-variable", format!("there is no variable `{name}`"), help);
            return;
        };
        // The last name before a call is a method. What a placeholder holds is not known.
        let data = &rest[..rest.len() - usize::from(called && !rest.is_empty())];
        if self.vars.placeholders.contains(name) {
            return;
        }
        let mut value = value;
        for key in data {
            match value.get(key) {
                Some(inner) => value = inner,
                None => {
                    let keys: Vec<&str> =
                        value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                    let message = format!("variable `{name}` has no `{key}`");
                    self.problems.add_help(span, "unknown-variable", message, help_for("keys", key, keys));
                    return;
                }
            }
        }
    }

    fn check_secret(&mut self, span: &Span, name: &str, using: Use) {
        if !self.secrets.contains(name) {
            let help = help_for("secrets", name, self.secrets.iter().map(String::as_str));
            self.problems.add_help(span, "unknown-secret", format!("there is no secret `{name}`"), help);
        }
        if !using.secrets {
            let message = format!("a secret in `{}` would be seen by others", using.place);
            let help = "secrets may stand in `env`, `stdin`, `headers`, `body`, `body_json`, `content`, `contains`, `secrets` of `kubernetes.apply` and a \
                        broker's `password`";
            self.problems.add_help(span, "secret-exposed", message, help);
        }
    }

    fn check_output(
        &mut self,
        span: &Span,
        kept: &Kept,
        (step, output): (&str, &str),
        before: Option<&mut Before<'_>>,
    ) {
        let Some(at) = self.index.get(step).copied() else {
            let help = help_for(
                "steps",
                step,
                self.steps.iter().filter_map(|draft| draft.id.as_ref()).map(StepId::as_str),
            );
            self.problems.add_help(span, "unknown-step", format!("there is no step `{step}`"), help);
            return;
        };
        let Some(user) = kept.using.step else {
            let message =
                format!("`{}` stands outside of steps, where no outputs are known", kept.using.place);
            self.problems.add_help(span, "output-not-ready", message, "use a variable");
            return;
        };
        let draft = &self.steps[at];
        if !draft.outputs.contains(output) {
            let help = match draft.outputs.is_empty() {
                true => format!("add `outputs = {{ {output} = \"text\" }}` to its `forward`"),
                false => help_for("outputs", output, draft.outputs.iter().map(String::as_str)),
            };
            let message = format!("step `{step}` declares no output `{output}`");
            self.problems.add_help(span, "unknown-output", message, help);
        } else if draft.probe_outputs.as_ref().is_some_and(|outputs| !outputs.contains(output)) {
            let message = format!(
                "when the probe of `{step}` holds, its action does not run and there is no `{output}`"
            );
            let help = format!("declare `{output}` in `outputs` of the probe too");
            self.problems.add_help(span, "output-not-in-probe", message, help);
        }
        if user == at {
            if !kept.using.own_outputs {
                let message = "the step's own outputs are not known yet";
                self.problems.add_help(
                    span,
                    "output-not-ready",
                    message,
                    "they can be used in its `verify` and in later steps",
                );
            }
        } else if let Some(before) = before
            && !before.ask(at, user)
        {
            let message = format!("step `{step}` need not have run before `{}`", self.steps[user].name());
            self.problems.add_help(span, "output-not-ready", message, format!("add `{step}` to its `needs`"));
        }
    }

    /// Renders what is known already, so that a template that cannot work is found now.
    fn check_value(&mut self, kept: &Kept, lexed: &Lexed) {
        let known = |reference: &Reference| match reference.path.as_slice() {
            [root, name, ..] => root == "vars" && !self.vars.placeholders.contains(name),
            _ => false,
        };
        if !lexed.references.iter().all(known) {
            return;
        }
        let outputs = std::collections::BTreeMap::new();
        let scope = Scope { vars: &self.vars.values, outputs: &outputs, run: "", secrets: Secrets::Masked };
        let value = serde_json::Value::String(kept.text.clone());
        let result = match kept.using.place {
            "when" => template::render_bool(&value, &scope).map(|_| ()),
            _ => template::render(&value, &scope).map(|_| ()),
        };
        if let Err(error) = result {
            let message = format!("the template in `{}` cannot work: {}", kept.using.place, error.reason);
            let help = match kept.using.place {
                "when" => "write a question, such as \"{{ vars.x == 1 }}\"",
                _ => {
                    "see that every value has the type that is needed there: a variable has that of its default"
                }
            };
            self.problems.add_help(&kept.span, "template-fails", message, help);
        }
    }

    /// The place of `text` within a span, when it can be found there.
    fn narrow(&self, span: &Span, text: &str) -> Span {
        match self.problems.source.slice(span).find(text) {
            Some(at) => span.start + at..span.start + at + text.len(),
            None => span.clone(),
        }
    }
}
