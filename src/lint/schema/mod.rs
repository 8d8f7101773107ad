//! Frigate's configuration models as data: `frigate.txt` holds the records, `known.txt` the names around them.
//!
//! What differs between versions is in the two files alone; this module reads them once a version and answers questions.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::target::{Minor, Target};

const RECORDS: &str = include_str!("frigate.txt");
const KNOWN: &str = include_str!("known.txt");

/// Names a record of one version's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordId(usize);

/// All records of one version.
#[derive(Debug)]
pub(crate) struct Schema {
    records: Vec<Record>,
    by_name: HashMap<&'static str, RecordId>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    /// Sorted by key.
    pub(crate) fields: Vec<Field>,
}

/// What a record does with a key it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Frigate refuses the file.
    Closed,
    /// Frigate drops the key silently.
    Ignores,
    /// Frigate keeps the key for somebody else.
    Open,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) required: bool,
    pub(crate) nullable: bool,
    pub(crate) ty: Type,
    pub(crate) default: &'static str,
}

#[derive(Debug)]
pub(crate) enum Type {
    Bool,
    Int(Bounds),
    Float(Bounds),
    Text,
    /// Text in which placeholders are expanded.
    Env,
    /// A text or a list of texts.
    Texts,
    /// Pixels, or a share of the frame.
    Area,
    Role,
    Floats(usize),
    Char,
    Slug,
    CameraName,
    Enum(Vec<&'static str>),
    List(Box<Type>),
    Map(Box<Type>),
    IntMap(Box<Type>),
    Any,
    Record(RecordId),
}

/// The bounds of a number, as written.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Bounds {
    pub(crate) at_least: Option<f64>,
    pub(crate) above: Option<f64>,
    pub(crate) at_most: Option<f64>,
    pub(crate) below: Option<f64>,
}

impl Bounds {
    pub(crate) fn hold(&self, value: f64) -> bool {
        self.at_least.is_none_or(|bound| value >= bound)
            && self.above.is_none_or(|bound| value > bound)
            && self.at_most.is_none_or(|bound| value <= bound)
            && self.below.is_none_or(|bound| value < bound)
    }

    /// The bounds in words: `at least 1 and at most 31`.
    pub(crate) fn words(&self) -> String {
        let parts = [
            self.at_least.map(|bound| format!("at least {bound}")),
            self.above.map(|bound| format!("above {bound}")),
            self.at_most.map(|bound| format!("at most {bound}")),
            self.below.map(|bound| format!("below {bound}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

/// A key that an older version had in this place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    record: &'static str,
    key: &'static str,
    pub(crate) since: Minor,
    /// The migration that moves it.
    pub(crate) step: Option<&'static str>,
    /// The rule that reports it.
    pub(crate) row: &'static str,
    /// Where it went, in words.
    pub(crate) to: &'static str,
}

/// What one version knows besides its records.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) hwaccel: Vec<&'static str>,
    pub(crate) input: Vec<&'static str>,
    pub(crate) record: Vec<&'static str>,
    pub(crate) roles: Vec<&'static str>,
    pub(crate) labels: Vec<String>,
    moved: Vec<Moved>,
}

impl Schema {
    /// The schema of a version, read once.
    pub(crate) fn of(target: Target) -> &'static Schema {
        static ALL: [OnceLock<Schema>; 4] = [const { OnceLock::new() }; 4];
        ALL[target.0 as usize].get_or_init(|| read_records(target.0))
    }

    pub(crate) fn root(&self) -> RecordId {
        self.by_name["root"]
    }

    pub(crate) fn record(&self, id: RecordId) -> &Record {
        &self.records[id.0]
    }

    pub(crate) fn named(&self, name: &str) -> Option<RecordId> {
        self.by_name.get(name).copied()
    }

    /// What a version takes for a key that is not there, as written in the data.
    pub(crate) fn default_of(&self, record: &str, key: &str) -> &'static str {
        let record = self.named(record).map(|id| self.record(id));
        record.and_then(|record| record.field(key)).map_or("", |field| field.default)
    }

    /// The names of the detector types.
    pub(crate) fn detector_types(&self) -> Vec<&'static str> {
        let mut names: Vec<_> =
            self.records.iter().filter_map(|record| record.name.strip_prefix("detector.")).collect();
        names.sort_unstable();
        names
    }
}

impl Record {
    pub(crate) fn field(&self, key: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.key.cmp(key)).ok().map(|index| &self.fields[index])
    }
}

impl Known {
    /// The names of a version, read once.
    pub(crate) fn of(target: Target) -> &'static Known {
        static ALL: [OnceLock<Known>; 4] = [const { OnceLock::new() }; 4];
        ALL[target.0 as usize].get_or_init(|| read_known(target.0))
    }

    /// What became of that key of that record, if an older version had it there.
    pub(crate) fn moved(&self, record: &str, key: &str) -> Option<&Moved> {
        // A camera's `ffmpeg` is a record of its own, with the same output arguments.
        self.moved.iter().find(|moved| moved.record == record && moved.key == key)
    }
}

/// The versions in which that record has that key, when it is not there in the asked one.
pub(crate) fn elsewhere_in_time(record: &str, key: &str) -> Vec<Minor> {
    Minor::ALL
        .into_iter()
        .filter(|minor| {
            let schema = Schema::of(Target(*minor));
            schema.named(record).is_some_and(|id| schema.record(id).field(key).is_some())
        })
        .collect()
}

/// Whether a range of versions (`*`, `-0.15`, `0.16+`, `0.15-0.16`, `0.16`) holds that one.
fn covers(range: &str, minor: Minor) -> bool {
    let named = |name: &str| Minor::named(name).unwrap_or_else(|| panic!("version `{name}` in the schema"));
    match range {
        "*" => true,
        _ => match range.strip_suffix('+') {
            Some(from) => minor >= named(from),
            None => match range.split_once('-') {
                Some(("", to)) => minor <= named(to),
                Some((from, to)) => named(from) <= minor && minor <= named(to),
                None => minor == named(range),
            },
        },
    }
}

fn read_records(minor: Minor) -> Schema {
    let headers = || RECORDS.lines().filter_map(header).filter(|(_, _, range)| covers(range, minor));
    let by_name: HashMap<&str, RecordId> =
        headers().enumerate().map(|(index, (name, _, _))| (name, RecordId(index))).collect();
    let mut records: Vec<Record> = Vec::new();
    let mut skip = true;
    for line in RECORDS.lines() {
        if let Some((name, policy, range)) = header(line) {
            skip = !covers(range, minor);
            if !skip {
                records.push(Record { name, policy, fields: Vec::new() });
            }
        } else if !skip && !line.is_empty() && !line.starts_with('#') {
            let record = records.last_mut().expect("a field stands below its record");
            record.fields.extend(field(line, minor, &by_name));
        }
    }
    for record in &mut records {
        record.fields.sort_by_key(|field| field.key);
    }
    Schema { records, by_name }
}

fn header(line: &'static str) -> Option<(&'static str, Policy, &'static str)> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    let mut words = rest.split_whitespace();
    let policy = match words.next() {
        Some("closed") => Policy::Closed,
        Some("ignores") => Policy::Ignores,
        Some("open") => Policy::Open,
        other => panic!("policy {other:?} of record `{name}` in the schema"),
    };
    Some((name, policy, words.next().unwrap_or("*")))
}

fn field(line: &'static str, minor: Minor, names: &HashMap<&'static str, RecordId>) -> Option<Field> {
    let mut words = line.splitn(2, char::is_whitespace);
    let key = words.next()?;
    let mut rest = words.next().unwrap_or_default().trim_start().splitn(2, char::is_whitespace);
    let ty = rest.next()?;
    let mut rest = rest.next().unwrap_or_default().trim_start().splitn(2, char::is_whitespace);
    let range = rest.next().filter(|range| !range.is_empty()).unwrap_or("*");
    if !covers(range, minor) {
        return None;
    }
    let (ty, nullable) = match ty.strip_suffix('?') {
        Some(ty) => (ty, true),
        None => (ty, false),
    };
    Some(Field {
        key: key.trim_end_matches('!'),
        required: key.ends_with('!'),
        nullable,
        ty: type_of(ty, names),
        default: rest.next().unwrap_or_default().trim(),
    })
}

fn type_of(text: &'static str, names: &HashMap<&'static str, RecordId>) -> Type {
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("list<") {
        return Type::List(Box::new(type_of(inner, names)));
    }
    if let Some(inner) = inner("map<") {
        return Type::Map(Box::new(type_of(inner, names)));
    }
    if let Some(inner) = inner("intmap<") {
        return Type::IntMap(Box::new(type_of(inner, names)));
    }
    if let Some(name) = text.strip_prefix('@') {
        return Type::Record(*names.get(name).unwrap_or_else(|| panic!("record `{name}` in the schema")));
    }
    if let Some(words) = text.strip_prefix("enum(") {
        return Type::Enum(words.trim_end_matches(')').split(',').collect());
    }
    if let Some(count) = text.strip_prefix("floats(") {
        return Type::Floats(count.trim_end_matches(')').parse().expect("a count in the schema"));
    }
    if let Some(rest) = text.strip_prefix("int") {
        return Type::Int(bounds(rest));
    }
    if let Some(rest) = text.strip_prefix("float") {
        return Type::Float(bounds(rest));
    }
    match text {
        "bool" => Type::Bool,
        "text" => Type::Text,
        "env" => Type::Env,
        "texts" => Type::Texts,
        "area" => Type::Area,
        "role" => Type::Role,
        "char" => Type::Char,
        "slug" => Type::Slug,
        "camera-name" => Type::CameraName,
        "any" => Type::Any,
        _ => panic!("type `{text}` in the schema"),
    }
}

fn bounds(mut text: &str) -> Bounds {
    let mut bounds = Bounds::default();
    while !text.is_empty() {
        let sign = if text.as_bytes().get(1) == Some(&b'=') { 2 } else { 1 };
        let end = text[sign..].find(['<', '>']).map_or(text.len(), |at| at + sign);
        let value = text[sign..end].parse().ok();
        match &text[..sign] {
            ">=" => bounds.at_least = value,
            ">" => bounds.above = value,
            "<=" => bounds.at_most = value,
            "<" => bounds.below = value,
            other => panic!("bound `{other}` in the schema"),
        }
        text = &text[end..];
    }
    bounds
}

fn read_known(minor: Minor) -> Known {
    let mut known = Known::default();
    for line in KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        if kind == "moved" {
            known.moved.extend(moved(line).filter(|moved| moved.since <= minor));
            continue;
        }
        if !covers(words.next().unwrap_or("*"), minor) {
            continue;
        }
        match kind {
            "hwaccel" => known.hwaccel.extend(words),
            "input" => known.input.extend(words),
            "record" => known.record.extend(words),
            "role" => known.roles.extend(words),
            "label" => known.labels.extend(words.map(|label| label.replace('+', " "))),
            other => panic!("kind `{other}` in the known names"),
        }
    }
    known
}

fn moved(line: &'static str) -> Option<Moved> {
    let mut rest = line.strip_prefix("moved")?.trim_start();
    let mut word = || {
        let (word, behind) = rest.split_once(char::is_whitespace)?;
        rest = behind.trim_start();
        Some(word)
    };
    let (record, key, since, step, row) = (word()?, word()?, word()?, word()?, word()?);
    Some(Moved {
        record,
        key,
        since: Minor::named(since)?,
        step: (step != "-").then_some(step),
        row,
        to: rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(minor: Minor, record: &str, key: &str) -> Option<(bool, String)> {
        let schema = Schema::of(Target(minor));
        let field = schema.record(schema.named(record)?).field(key)?;
        Some((field.required, field.default.to_owned()))
    }

    #[test]
    fn every_version_reads_and_every_moved_key_is_gone_from_where_it_was() {
        for minor in Minor::ALL {
            let schema = Schema::of(Target(minor));
            assert!(schema.record(schema.root()).fields.len() > 25, "{minor:?}");
            let known = Known::of(Target(minor));
            assert_eq!(known.labels.len(), 91, "{minor:?}: the stock label map");
            for moved in &known.moved {
                let record = schema.named(moved.record);
                let still = record.is_some_and(|id| schema.record(id).field(moved.key).is_some());
                assert!(!still, "{minor:?}: {}.{}", moved.record, moved.key);
            }
        }
    }

    #[test]
    fn what_changed_between_versions_is_in_the_data() {
        assert_eq!(field_of(Minor::V15, "detect", "enabled"), Some((false, "true".to_owned())));
        assert_eq!(field_of(Minor::V16, "detect", "enabled"), Some((false, "false".to_owned())));
        assert!(field_of(Minor::V14, "record", "events").is_some());
        assert!(field_of(Minor::V15, "record", "events").is_none());
        assert!(field_of(Minor::V17, "record", "retain").is_none());
        assert!(field_of(Minor::V15, "root", "face_recognition").is_none());
        assert_eq!(field_of(Minor::V16, "mqtt", "client_id"), Some((false, "frigate".to_owned())));
        assert_eq!(field_of(Minor::V17, "root", "cameras"), Some((true, String::new())));
        assert!(Schema::of(Target(Minor::V14)).detector_types().contains(&"rocm"));
        assert!(!Schema::of(Target(Minor::V16)).detector_types().contains(&"rocm"));
    }

    #[test]
    fn bounds_are_read_as_they_are_written() {
        let schema = Schema::of(Target(Minor::V16));
        let motion = schema.record(schema.named("motion").unwrap());
        let Type::Int(bounds) = motion.field("threshold").unwrap().ty else { panic!("an int") };
        assert!(bounds.hold(1.0) && bounds.hold(255.0) && !bounds.hold(0.0) && !bounds.hold(256.0));
        assert_eq!(bounds.words(), "at least 1 and at most 255");
    }
}
