//! X1, X2, X9, and the keys that moved (L3, L30): the file against the schema of its version.

use super::super::config::Config;
use super::super::schema::{Field, Known, Moved, Policy, Record, RecordId, Schema, Type, elsewhere_in_time};
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;
use super::super::words::{is_certain, is_secret_key, meant, one_of, shown};
use super::super::yaml::{Entry, Kind, NodeId, Scalar, Style};

/// Walks the whole file.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let schema = Schema::of(config.target);
    let mut walk = Walk { config, around, schema, known: Known::of(config.target), sink, path: Vec::new() };
    if config.tree.is_mapping(config.root) {
        walk.record(config.root, schema.root());
    } else {
        let what = config.tree.scalar(config.root).map_or("a list", |scalar| scalar.kind.words());
        let message = format!("a configuration is a mapping of sections, this is {what}");
        walk.sink.error("X2", config.at(config.root), message);
    }
}

struct Walk<'w, 'a> {
    config: &'w Config<'a>,
    around: &'w Surroundings<'w>,
    schema: &'static Schema,
    known: &'static Known,
    sink: &'w mut Sink,
    path: Vec<&'a str>,
}

impl<'a> Walk<'_, 'a> {
    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path.join(".")) }
    }

    fn record(&mut self, node: NodeId, id: RecordId) {
        let schema = self.schema;
        let record = schema.record(id);
        let tree = self.config.tree;
        for entry in tree.entries(node) {
            if self.sink.cut {
                return;
            }
            let Some(key) = tree.scalar(entry.key).map(|scalar| scalar.text.as_ref()) else {
                self.bad_key(entry);
                continue;
            };
            if tree.text(entry.key).is_none() {
                self.bad_key(entry);
                continue;
            }
            match record.field(key) {
                Some(field) => {
                    self.path.push(key);
                    self.value(entry.value, field);
                    self.path.pop();
                }
                None => self.unknown(node, record, entry, key),
            }
        }
        for field in record.fields.iter().filter(|field| field.required) {
            if tree.get(node, field.key).is_none() && !self.sink.is_misspelt(Some(node), field.key) {
                self.missing(node, record, field);
            }
        }
    }

    fn missing(&mut self, node: NodeId, record: &Record, field: &Field) {
        // Frigate gives a camera's only input its roles itself, and takes a detector without a type for `cpu`.
        if field.key == "roles" || record.name.starts_with("detector") {
            return;
        }
        let what = if matches!(field.ty, Type::Record(_) | Type::Map(_)) { "section" } else { "key" };
        let mut place = self.config.at(node);
        // A block mapping's own place is its first key; a missing key belongs to the key above.
        if let Some(entry) = self.config.tree.entries(node).first() {
            place = self.config.at(entry.key);
        }
        let message = format!("required {what} `{}` is missing", self.at(field.key));
        let finding = self.sink.error("X9", place, message);
        match (record.name, field.key) {
            ("root", "mqtt") => finding.fix("add `mqtt:` with `host:`, or with `enabled: false`"),
            ("root", "cameras") => finding.fix("add `cameras:` with at least one camera below it"),
            _ => finding.fix(format!("add `{}:`", field.key)),
        };
    }

    fn bad_key(&mut self, entry: &Entry) {
        let tree = self.config.tree;
        let message = match tree.scalar(entry.key) {
            Some(scalar) => format!(
                "the key `{}` is {} to YAML, and keys are text",
                shown(&scalar.text),
                scalar.kind.words()
            ),
            None => "this key is a collection, and keys are text".to_owned(),
        };
        let finding = self.sink.error("X2", self.config.at(entry.key), message);
        if let Some(scalar) = tree.scalar(entry.key)
            && scalar.style == Style::Plain
            && scalar.kind != Kind::Null
        {
            let quoted = format!("\"{}\"", scalar.text);
            finding.fix(format!("write {quoted}")).replace(tree, entry.key, quoted);
        }
    }

    fn unknown(&mut self, node: NodeId, record: &Record, entry: &Entry, key: &'a str) {
        if let Some(moved) = self.known.moved(moved_record(record.name), key) {
            return self.moved(entry, key, *moved);
        }
        let tree = self.config.tree;
        let place = self.config.at(entry.key);
        let free = record.fields.iter().map(|field| field.key).filter(|name| tree.get(node, name).is_none());
        let mut guess = meant(key, free);
        // The runtime writes these two into a zone itself.
        if record.name == "zone" && matches!(key, "color" | "contour") {
            return;
        }
        let lenient = record.policy != Policy::Closed;
        if record.policy == Policy::Open {
            // Kept for a plugin or for go2rtc: only what looks like a slip is worth a word.
            guess = guess.filter(|guess| is_certain(key, guess));
            if guess.is_none() {
                return;
            }
        }
        let message = match (lenient, guess) {
            (false, Some(guess)) => format!("unknown key `{}`: did you mean `{guess}`?", self.at(key)),
            (false, None) => format!("unknown key `{}`", self.at(key)),
            (true, Some(guess)) => {
                format!("unknown key `{}` is ignored without a word: did you mean `{guess}`?", self.at(key))
            }
            (true, None) => format!("unknown key `{}` is ignored without a word", self.at(key)),
        };
        let advice = match guess {
            Some(guess) => format!("write `{guess}:`"),
            None => self.other_home(record, key),
        };
        if let Some(guess) = guess {
            self.sink.note_misspelt(node, guess);
        }
        // What is misspelt is missing, too, and that Frigate does not take.
        let needed = !record.name.starts_with("detector")
            && guess.and_then(|guess| record.field(guess)).is_some_and(|field| field.required);
        let severity =
            if lenient && !needed { super::super::Severity::Warning } else { super::super::Severity::Error };
        let finding = self.sink.report("X1", severity, place, message);
        finding.fix(advice);
        if let Some(guess) = guess.filter(|guess| is_certain(key, guess) && !entry.merged) {
            finding.replace(tree, entry.key, guess);
        }
    }

    /// Where a key that is unknown here would be known.
    fn other_home(&self, record: &Record, key: &str) -> String {
        let versions = elsewhere_in_time(record.name, key);
        if let Some(first) = versions.first() {
            let names: Vec<&str> = versions.iter().map(|minor| minor.name()).collect();
            return if *first > self.config.target.0 {
                format!("remove it: only Frigate {} knows it", names.join(", "))
            } else {
                format!("remove it: Frigate {} does not know it any more", self.config.target)
            };
        }
        let below = record.fields.iter().find(|field| match field.ty {
            Type::Record(id) => self.schema.record(id).field(key).is_some(),
            _ => false,
        });
        match below {
            Some(field) => format!("move it below `{}:`", field.key),
            None => "remove it, or move it to the section it belongs to".to_owned(),
        }
    }

    fn moved(&mut self, entry: &Entry, key: &str, moved: Moved) {
        let label = self.config.label();
        let migrates = moved.step.is_some_and(|step| self.config.target.runs(step, &label));
        if migrates && self.around.writable == Some(true) {
            return;
        }
        let path = self.at(key);
        let since = moved.since.name();
        let finding = self.sink.error(
            moved.row,
            self.config.at(entry.key),
            format!("`{path}` is gone since Frigate {since}: it went to {}", moved.to),
        );
        let mut advice = format!("move what it holds to {}", moved.to);
        if moved.to.starts_with("nowhere") {
            advice = "remove it".to_owned();
        }
        if migrates && self.around.writable.is_none() {
            advice.push_str(", or let Frigate migrate the file: it must be writable for that");
        }
        finding.fix(advice);
    }

    fn value(&mut self, node: NodeId, field: &'static Field) {
        let tree = self.config.tree;
        if tree.is_null(node) && (field.nullable || self.text_of_null(field)) {
            return;
        }
        // The label has rules of its own.
        if self.path.as_slice() == ["version"] && !matches!(field.ty, Type::Float(_)) {
            let numeric = tree
                .scalar(node)
                .is_some_and(|scalar| matches!(scalar.kind, Kind::Int(_) | Kind::BigInt | Kind::Float(_)));
            if numeric {
                return;
            }
        }
        self.typed(node, &field.ty);
    }

    /// `any` takes null as well.
    fn text_of_null(&self, field: &Field) -> bool {
        matches!(field.ty, Type::Any)
    }

    fn typed(&mut self, node: NodeId, ty: &'static Type) {
        let tree = self.config.tree;
        match ty {
            // Roles have a rule of their own: what is wrong depends on how many inputs there are.
            Type::List(inner) if matches!(**inner, Type::Role) => {}
            Type::Record(id) if tree.is_mapping(node) => {
                let id = self.detector(node, *id);
                self.record(node, id);
            }
            Type::List(inner) if tree.is_sequence(node) => {
                for item in tree.items(node) {
                    self.typed(*item, inner);
                }
            }
            Type::Map(inner) if tree.is_mapping(node) => {
                for entry in tree.entries(node) {
                    let Some(key) = tree.text(entry.key) else {
                        self.bad_key(entry);
                        continue;
                    };
                    self.path.push(key);
                    self.typed(entry.value, inner);
                    self.path.pop();
                }
            }
            Type::IntMap(inner) if tree.is_mapping(node) => {
                for entry in tree.entries(node) {
                    let whole = tree.number(entry.key).is_some_and(|key| key.fract() == 0.0);
                    if !whole {
                        self.sink.error("X2", self.config.at(entry.key), "this key must be a whole number");
                    }
                    self.typed(entry.value, inner);
                }
            }
            Type::Texts if tree.is_sequence(node) => {
                for item in tree.items(node) {
                    self.typed(*item, &Type::Text);
                }
            }
            Type::Floats(count) => self.floats(node, *count),
            Type::Role | Type::Any => {}
            _ => match tree.scalar(node) {
                Some(_) => {
                    if matches!(ty, Type::Env) {
                        // From 0.15 on Frigate validates a camera, merges it, and validates it again.
                        let twice =
                            self.path.first() == Some(&"cameras") && self.config.target.at_least(Minor::V15);
                        self.sink.env_nodes.push((node, twice));
                    }
                    self.scalar(node, ty);
                }
                None => {
                    let is = if tree.is_mapping(node) { "a mapping" } else { "a list" };
                    self.wrong(node, &wanted(ty), is);
                }
            },
        }
    }

    /// A detector is judged by the record of its type.
    fn detector(&mut self, node: NodeId, id: RecordId) -> RecordId {
        if self.schema.record(id).name != "detector" {
            return id;
        }
        let tree = self.config.tree;
        let Some(ty) = tree.get(node, "type") else {
            return self.schema.named("detector.cpu").unwrap_or(id);
        };
        let Some(name) = tree.text(ty) else { return id };
        if let Some(own) = self.schema.named(&format!("detector.{name}")) {
            return own;
        }
        let types = self.schema.detector_types();
        let guess = meant(name, types.iter().copied());
        let message = format!("Frigate {} has no detector type `{}`", self.config.target, shown(name));
        let finding = self.sink.error("X2", self.config.at(ty), message);
        match guess {
            Some(guess) => finding.fix(format!("write `{guess}`")),
            None => finding.fix(format!("choose one of {}", one_of(types))),
        };
        if let Some(guess) = guess.filter(|guess| is_certain(name, guess)) {
            finding.replace(tree, ty, guess);
        }
        id
    }

    fn wrong(&mut self, node: NodeId, wanted: &str, is: &str) {
        let path = self.path.join(".");
        self.sink.error("X2", self.config.at(node), format!("`{path}` must be {wanted}, and this is {is}"));
    }

    fn scalar(&mut self, node: NodeId, ty: &'static Type) {
        let tree = self.config.tree;
        let Some(scalar) = tree.scalar(node) else { return };
        let text = scalar.text.as_ref();
        let number = || scalar.number().filter(|_| scalar.kind != Kind::Time);
        let fits = match ty {
            Type::Bool => scalar.truth().is_some(),
            Type::Int(bounds) => whole(scalar).is_some_and(|value| bounds.hold(value)),
            Type::Float(bounds) => number().is_some_and(|value| bounds.hold(value)),
            Type::Area => match scalar.kind {
                Kind::Float(value) => (0.000_001..=0.99).contains(&value),
                Kind::Text if whole(scalar).is_none() => {
                    number().is_some_and(|value| (0.000_001..=0.99).contains(&value))
                }
                _ => whole(scalar).is_some(),
            },
            Type::Text | Type::Env | Type::Texts => scalar.kind == Kind::Text,
            Type::Char => scalar.kind == Kind::Text && text.chars().count() == 1,
            Type::Slug => {
                scalar.kind == Kind::Text
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    && !text.is_empty()
            }
            // The camera's own name is judged with the key it stands under.
            Type::CameraName => scalar.kind == Kind::Text,
            Type::Enum(words) => scalar.kind == Kind::Text && words.contains(&text),
            _ => false,
        };
        if fits {
            return;
        }
        self.misfit(node, ty);
    }

    fn misfit(&mut self, node: NodeId, ty: &'static Type) {
        let tree = self.config.tree;
        let Some(scalar) = tree.scalar(node) else { return };
        let path = self.path.join(".");
        let secret = self.path.last().is_some_and(|key| is_secret_key(key));
        let value = if secret { "the value".to_owned() } else { format!("`{}`", shown(&scalar.text)) };
        let is = match scalar.kind {
            Kind::Null => "nothing stands here".to_owned(),
            Kind::Tagged => format!("{value} carries a tag that Frigate's reader does not know"),
            kind => format!("{value} is {}", kind.words()),
        };
        let (message, advice, edit) = match ty {
            Type::Int(bounds) | Type::Float(bounds)
                if scalar.number().is_some_and(|value| !bounds.hold(value)) =>
            {
                let words = bounds.words();
                (
                    format!("`{path}` must be {words}, and {value} is not"),
                    format!("write a value that is {words}"),
                    None,
                )
            }
            Type::Enum(words) if scalar.kind == Kind::Text => {
                let guess = meant(&scalar.text, words.iter().copied());
                let message = match guess {
                    Some(guess) => format!("`{path}` cannot be {value}: did you mean `{guess}`?"),
                    None => format!("`{path}` cannot be {value}"),
                };
                let edit = guess.filter(|guess| is_certain(&scalar.text, guess)).map(str::to_owned);
                (message, format!("write {}", one_of(words.iter().copied())), edit)
            }
            Type::Text | Type::Env | Type::Texts | Type::CameraName
                if scalar.style == Style::Plain && !matches!(scalar.kind, Kind::Null | Kind::Tagged) =>
            {
                let quoted = format!("\"{}\"", scalar.text);
                let advice =
                    if secret { "put quotes around it".to_owned() } else { format!("write `{quoted}`") };
                (format!("`{path}` must be text, and {is} to YAML"), advice, Some(quoted))
            }
            _ if scalar.kind == Kind::Null => {
                let advice = match ty {
                    Type::Record(_) | Type::Map(_) | Type::IntMap(_) | Type::List(_) => {
                        "remove the key, or give it content: an empty section is null to YAML"
                    }
                    _ => "remove the key, or give it a value",
                };
                (format!("`{path}` must be {}, and {is}", wanted(ty)), advice.to_owned(), None)
            }
            _ => {
                (format!("`{path}` must be {}, and {is}", wanted(ty)), format!("write {}", wanted(ty)), None)
            }
        };
        let finding = self.sink.error("X2", self.config.at(node), message);
        finding.fix(advice);
        if let Some(edit) = edit {
            finding.replace(tree, node, edit);
        }
    }

    /// A fixed count of numbers, in a list or in a text separated by commas.
    fn floats(&mut self, node: NodeId, count: usize) {
        let tree = self.config.tree;
        let values: Option<Vec<Option<f64>>> = match tree.scalar(node) {
            Some(scalar) if scalar.kind == Kind::Text => {
                Some(scalar.text.split(',').map(|part| part.trim().parse().ok()).collect())
            }
            Some(_) => None,
            None if tree.is_sequence(node) => {
                Some(tree.items(node).iter().map(|item| tree.number(*item)).collect())
            }
            None => None,
        };
        let fits = values.is_some_and(|values| values.len() == count && values.iter().all(Option::is_some));
        if !fits {
            let path = self.path.join(".");
            let message = format!("`{path}` must be exactly {count} numbers");
            self.sink.error("X2", self.config.at(node), message);
        }
    }
}

/// A whole number, or text that is one: `5`, `5.0`, not `1e3`.
fn whole(scalar: &Scalar<'_>) -> Option<f64> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b"+-_. ".contains(&b));
    match scalar.kind {
        Kind::Text if !plain(&scalar.text) => None,
        Kind::Time => None,
        _ => scalar.number().filter(|value| value.fract() == 0.0),
    }
}

/// Global and camera-level records that share what moved.
fn moved_record(name: &'static str) -> &'static str {
    match name {
        "camera-ffmpeg" => "ffmpeg",
        other => other,
    }
}

/// What a type wants, in words.
fn wanted(ty: &Type) -> String {
    match ty {
        Type::Bool => "true or false".to_owned(),
        Type::Int(bounds) | Type::Float(bounds) => {
            let what = if matches!(ty, Type::Int(_)) { "a whole number" } else { "a number" };
            match bounds.words() {
                words if words.is_empty() => what.to_owned(),
                words => format!("{what} {words}"),
            }
        }
        Type::Text | Type::Env | Type::CameraName => "text".to_owned(),
        Type::Texts => "a text or a list of texts".to_owned(),
        Type::Area => "a number of pixels, or a share of the frame between 0.000001 and 0.99".to_owned(),
        Type::Role => "a role".to_owned(),
        Type::Floats(count) => format!("{count} numbers"),
        Type::Char => "exactly one character".to_owned(),
        Type::Slug => "small letters and underscores".to_owned(),
        Type::Enum(words) => one_of(words.iter().copied()),
        Type::List(_) => "a list".to_owned(),
        Type::Map(_) | Type::IntMap(_) | Type::Record(_) => "a mapping".to_owned(),
        Type::Any => "a value".to_owned(),
    }
}
