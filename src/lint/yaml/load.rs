//! Events of the parser, made into trees: anchors resolved, merge keys applied, duplicate keys noticed.
//!
//! An alias costs nothing here, whatever it stands for; what would be its cost written out is counted, so that a bomb is
//! refused before anything walks it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar::resolve;
use super::{Dialect, Entry, Kind, Node, NodeId, Place, Scalar, Style, Tree, Trouble, Value, guard};

/// How many nodes a document may have with its aliases written out: a camera has about fifty.
const NODES_MAX: u32 = 200_000;

/// How many keys a mapping may have: rules look keys up one by one, and nobody has two thousand cameras.
const KEYS_MAX: usize = 2_000;

/// How deep a document may nest, likewise: Frigate's own models nest eight levels.
const DEPTH_MAX: u8 = 64;

/// How many comments without a blank before them are looked past.
const GLUED_MAX: usize = 10;

/// Mappings up to this size are searched for duplicate keys pair by pair.
const PAIRWISE_MAX: usize = 12;

/// The documents of a text, up to the first trouble that ends the reading, and all troubles.
pub(crate) fn load(text: &str, dialect: Dialect) -> (Vec<Tree<'_>>, Vec<Trouble>) {
    let mut builder = Builder::new(text, dialect);
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_event() {
            Some(Ok((Event::StreamEnd, _))) | None => break,
            Some(Ok((event, span))) => {
                if let Err(trouble) = builder.take(event, span) {
                    builder.troubles.push(trouble);
                    return (builder.documents, builder.troubles);
                }
            }
            Some(Err(error)) => {
                let trouble = builder.explain(&error);
                builder.troubles.push(trouble);
                return (builder.documents, builder.troubles);
            }
        }
    }
    if builder.tabs {
        let skips = if dialect == Dialect::Yaml12 { builder.brackets.as_slice() } else { &[] };
        if let Some(at) = guard::stray_tab(text, &builder.scalars, skips) {
            builder.troubles.push(tab_trouble(at));
        }
    }
    (builder.documents, builder.troubles)
}

/// Blanks out comments that stand directly behind a quote, which YAML forbids and both of Frigate's readers take.
/// Everything else keeps its place.
pub(crate) fn without_glued_comments(text: &str, dialect: Dialect) -> Cow<'_, str> {
    let mut clean = Cow::Borrowed(text);
    // Nothing is parsed twice unless there is something to look for.
    if !text.contains("\"#") && !text.contains("'#") && !text.contains("]#") && !text.contains("}#") {
        return clean;
    }
    for _ in 0..GLUED_MAX {
        let (_, troubles) = load(&clean, dialect);
        let glued = troubles.iter().find(|trouble| trouble.message.contains("comments must be separated"));
        let Some(line) = glued.map(|trouble| trouble.at.line) else { break };
        let start: usize = clean.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
        let end = clean[start..].find(['\n', '\r']).map_or(clean.len(), |end| start + end);
        let Some(at) =
            ["\"#", "'#", "]#", "}#"].iter().filter_map(|glue| clean[start..end].rfind(glue)).max()
        else {
            break;
        };
        let from = start + at + 1;
        let blanks = " ".repeat(clean[from..end].chars().count());
        clean = Cow::Owned(format!("{}{blanks}{}", &clean[..from], &clean[end..]));
    }
    clean
}

struct Builder<'t> {
    text: &'t str,
    dialect: Dialect,
    documents: Vec<Tree<'t>>,
    troubles: Vec<Trouble>,
    tree: Tree<'t>,
    /// Of each node: nodes below it and itself with aliases written out, and levels likewise.
    weights: Vec<(u32, u8)>,
    anchors: HashMap<usize, NodeId>,
    open: Vec<Frame>,
    /// Keys that came in through merges so far, written out.
    merged: usize,
    tabs: bool,
    /// Where each character begins, when that is not its number.
    offsets: Option<Vec<usize>>,
    scalars: Vec<(usize, usize)>,
    brackets: Vec<(usize, usize)>,
}

struct Frame {
    node: NodeId,
    /// Where the bracket opened, if it is one.
    bracket: Option<usize>,
    content: Content,
}

enum Content {
    Items(Vec<NodeId>),
    Pairs { entries: Vec<Entry>, key: Option<NodeId> },
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, dialect: Dialect) -> Self {
        Builder {
            text,
            dialect,
            documents: Vec::new(),
            troubles: Vec::new(),
            tree: Tree::default(),
            weights: Vec::new(),
            anchors: HashMap::new(),
            open: Vec::new(),
            merged: 0,
            tabs: text.contains('\t'),
            offsets: (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect()),
            scalars: Vec::new(),
            brackets: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), Trouble> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.closed(span, style);
                // In a plain scalar the reader does not take a tab for a blank.
                if self.tabs && style != ScalarStyle::Plain {
                    self.scalars.push((span.start.index(), span.end.index()));
                }
                let kind = self.kind(&text, style, tag.as_deref());
                if kind == Kind::Tagged && self.dialect == Dialect::Yaml11 {
                    return Err(trouble(
                        "X5",
                        place(span),
                        "Frigate 0.14 refuses tags that YAML does not define",
                    ));
                }
                if style == ScalarStyle::Plain && text.starts_with(['|', '>', '@', '`', '%']) {
                    let message = "a plain value cannot begin with this character: put quotes around it";
                    return Err(trouble("X5", place(span), message));
                }
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                };
                let node = self.add(span, Value::Scalar(Scalar { text, kind, style }), anchor);
                self.place(node)
            }
            Event::SequenceStart(anchor, _) => {
                let node = self.add(span, Value::Sequence(Vec::new()), anchor);
                self.enter(node, span, Content::Items(Vec::new()))
            }
            Event::MappingStart(anchor, _) => {
                let node = self.add(span, Value::Mapping(Vec::new()), anchor);
                self.enter(node, span, Content::Pairs { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(span),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).copied() else {
                    return Err(trouble("X7", place(span), "this alias has no anchor"));
                };
                if self.open.iter().any(|frame| frame.node == node) {
                    return Err(trouble("X7", place(span), "this alias stands inside of what it names"));
                }
                self.place(node)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                self.weights.clear();
                self.documents.push(std::mem::take(&mut self.tree));
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
        }
    }

    /// The span of a quoted scalar up to its closing quote: the parser counts blanks and a comment behind it as well.
    fn closed(&self, span: Span, style: ScalarStyle) -> Span {
        if !matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted) {
            return span;
        }
        let byte = |index: usize| match &self.offsets {
            Some(offsets) => offsets.get(index).copied().unwrap_or(self.text.len()),
            None => index,
        };
        let raw = self.text.get(byte(span.start.index())..byte(span.end.index())).unwrap_or_default();
        let Some(length) = quoted_length(raw) else { return span };
        let (mut line, mut column) = (span.start.line(), span.start.col());
        for c in raw.chars().take(length) {
            if c == '\n' {
                (line, column) = (line + 1, 0);
            } else {
                column += 1;
            }
        }
        Span::new(span.start, Marker::new(span.start.index() + length, line, column))
    }

    fn kind(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
                "str" | "binary" => Kind::Text,
                _ => resolve(text, self.dialect),
            },
            Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Kind::Text,
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Kind::Text,
            Some(_) => Kind::Tagged,
            None if style == ScalarStyle::Plain => resolve(text, self.dialect),
            None => Kind::Text,
        }
    }

    fn add(&mut self, span: Span, value: Value<'t>, anchor: usize) -> NodeId {
        let id = NodeId(self.tree.nodes.len() as u32);
        let end = Place { line: span.end.line() as u32, column: span.end.col() as u32 + 1 };
        self.tree.nodes.push(Node { at: place(span), end, value });
        self.weights.push((1, 1));
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        id
    }

    fn enter(&mut self, node: NodeId, span: Span, content: Content) -> Result<(), Trouble> {
        if self.open.len() >= usize::from(DEPTH_MAX) {
            return Err(trouble("X5", place(span), &format!("nested more than {DEPTH_MAX} levels deep")));
        }
        let bracket = (self.tabs && !span.is_empty()).then(|| span.start.index());
        self.open.push(Frame { node, bracket, content });
        Ok(())
    }

    fn leave(&mut self, span: Span) -> Result<(), Trouble> {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        if let (Some(start), false) = (frame.bracket, span.is_empty()) {
            // The parser counts the blanks behind the bracket as well.
            self.brackets.push((start, span.start.index() + 1));
        }
        let value = match frame.content {
            Content::Items(items) => {
                for item in &items {
                    self.weigh(frame.node, *item);
                }
                Value::Sequence(items)
            }
            Content::Pairs { entries, .. } => {
                let entries = self.settle(entries)?;
                for entry in &entries {
                    self.weigh(frame.node, entry.key);
                    self.weigh(frame.node, entry.value);
                }
                Value::Mapping(entries)
            }
        };
        let node = &mut self.tree.nodes[frame.node.0 as usize];
        node.value = value;
        node.end = Place { line: span.end.line() as u32, column: span.end.col() as u32 + 1 };
        let (weight, depth) = self.weights[frame.node.0 as usize];
        if weight > NODES_MAX || depth > DEPTH_MAX {
            let at = self.tree.at(frame.node);
            let message = format!(
                "with its aliases written out this holds more than {NODES_MAX} nodes or {DEPTH_MAX} levels: \
                 a YAML bomb, or a mistake"
            );
            return Err(trouble("X5", at, &message));
        }
        self.place(frame.node)
    }

    fn weigh(&mut self, node: NodeId, child: NodeId) {
        let (weight, depth) = self.weights[child.0 as usize];
        let own = &mut self.weights[node.0 as usize];
        own.0 = own.0.saturating_add(weight);
        own.1 = own.1.max(depth.saturating_add(1));
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: NodeId) -> Result<(), Trouble> {
        match self.open.last_mut() {
            None => self.tree.root = Some(node),
            Some(Frame { content: Content::Items(items), .. }) => items.push(node),
            Some(Frame { content: Content::Pairs { entries, key }, .. }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push(Entry { key, value: node, merged: false }),
            },
        }
        if self.tree.nodes.len() > NODES_MAX as usize {
            return Err(trouble("X5", self.tree.at(node), &format!("more than {NODES_MAX} nodes")));
        }
        Ok(())
    }

    /// Notices duplicate keys and applies merge keys.
    fn settle(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Trouble> {
        if let Some(first) = entries.first().filter(|_| entries.len() > KEYS_MAX) {
            let message = format!("a mapping with more than {KEYS_MAX} keys");
            return Err(trouble("X5", self.tree.at(first.key), &message));
        }
        self.duplicates(&entries);
        let is_merge = |tree: &Tree<'_>, entry: &Entry| {
            tree.scalar(entry.key).is_some_and(|key| key.style == Style::Plain && key.text == "<<")
        };
        let Some(first) = entries.iter().position(|entry| is_merge(&self.tree, entry)) else {
            return Ok(entries);
        };
        if self.dialect == Dialect::Yaml11 {
            let mut refused =
                trouble("X5", self.tree.at(entries[first].key), "Frigate 0.14 refuses merge keys (`<<`)");
            refused.fix = Some("write the keys out, or use a plain alias for the whole value".to_owned());
            return Err(refused);
        }
        let merge = entries.remove(first);
        let sources = match &self.tree.node(merge.value).value {
            Value::Mapping(_) => vec![merge.value],
            Value::Sequence(items) => items.clone(),
            Value::Scalar(_) => Vec::new(),
        };
        if sources.is_empty() || !sources.iter().all(|source| self.tree.is_mapping(*source)) {
            let message = "a merge key (`<<`) wants a mapping or a list of mappings";
            return Err(trouble("X5", self.tree.at(merge.key), message));
        }
        let at = self.tree.at(merge.key);
        let tree = &self.tree;
        let text = |key: NodeId| tree.scalar(key).map(|scalar| scalar.text.as_ref());
        let mut seen: HashSet<&str> = entries.iter().filter_map(|entry| text(entry.key)).collect();
        for source in sources {
            let brought = tree.entries(source);
            // Merged keys are written out: many maps that merge many keys are a bomb of their own.
            self.merged += brought.len();
            if entries.len() + brought.len() > KEYS_MAX || self.merged > NODES_MAX as usize {
                return Err(trouble(
                    "X5",
                    at,
                    "merge keys bring in too many keys: a YAML bomb, or a mistake",
                ));
            }
            for entry in brought {
                if text(entry.key).is_none_or(|text| seen.insert(text)) {
                    entries.push(Entry { merged: true, ..*entry });
                }
            }
        }
        Ok(entries)
    }

    fn duplicates(&mut self, entries: &[Entry]) {
        let mut found = Vec::new();
        if entries.len() <= PAIRWISE_MAX {
            for (index, entry) in entries.iter().enumerate() {
                let earlier =
                    entries[..index].iter().find(|other| same_key(&self.tree, other.key, entry.key));
                found.extend(earlier.map(|earlier| (earlier.key, entry.key)));
            }
        } else {
            let mut seen: HashMap<&str, NodeId> = HashMap::with_capacity(entries.len());
            for entry in entries {
                let Some(scalar) = self.tree.scalar(entry.key) else { continue };
                if let Some(earlier) = seen.insert(&scalar.text, entry.key)
                    && same_key(&self.tree, earlier, entry.key)
                {
                    found.push((earlier, entry.key));
                }
            }
        }
        for (earlier, key) in found {
            let name = self.tree.scalar(key).map(|scalar| scalar.text.to_string()).unwrap_or_default();
            let line = self.tree.at(earlier).line;
            let message = format!("`{name}` stands here for the second time, first on line {line}");
            self.troubles.push(trouble("X6", self.tree.at(key), &message));
        }
    }

    /// What the parser's error means for whoever wrote the file.
    fn explain(&self, error: &ScanError) -> Trouble {
        let marker = error.marker();
        let at = Place { line: marker.line() as u32, column: marker.col() as u32 + 1 };
        if error.info().contains("unknown anchor") {
            let line = self.text.lines().nth(at.line as usize - 1).unwrap_or_default();
            let rest: String = line.chars().skip(at.column as usize - 1).collect();
            let name =
                rest.trim_start_matches('*').split([' ', ',', ']', '}', '\t']).next().unwrap_or_default();
            return trouble("X7", at, &format!("alias `*{name}` has no anchor `&{name}` above it"));
        }
        if let Some(tab) = self.leading_tab(at.line) {
            return tab_trouble(tab);
        }
        trouble("X5", at, &format!("not valid YAML: {}", error.info()))
    }

    /// A tab in the indentation of that line or the one before, at which parsers stumble a little later.
    fn leading_tab(&self, line: u32) -> Option<Place> {
        (line.saturating_sub(1)..=line).find_map(|number| {
            let text = self.text.lines().nth((number as usize).checked_sub(1)?)?;
            let column = text.chars().position(|c| c != ' ')?;
            (text.chars().nth(column) == Some('\t'))
                .then_some(Place { line: number, column: column as u32 + 1 })
        })
    }
}

/// How many characters a quoted scalar has with its quotes.
fn quoted_length(raw: &str) -> Option<usize> {
    let mut chars = raw.chars().enumerate().peekable();
    let (_, quote) = chars.next().filter(|(_, quote)| matches!(quote, '"' | '\''))?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            // Two single quotes are one.
            '\'' if quote == c && chars.peek().is_some_and(|(_, next)| *next == quote) => {
                chars.next();
            }
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn same_key(tree: &Tree<'_>, a: NodeId, b: NodeId) -> bool {
    match (tree.scalar(a), tree.scalar(b)) {
        (Some(a), Some(b)) => a.kind == b.kind && a.text == b.text,
        _ => false,
    }
}

fn place(span: Span) -> Place {
    Place { line: span.start.line() as u32, column: span.start.col() as u32 + 1 }
}

fn trouble(code: &'static str, at: Place, message: &str) -> Trouble {
    Trouble { code, at, message: message.to_owned(), fix: None }
}

fn tab_trouble(at: Place) -> Trouble {
    Trouble {
        code: "X5",
        at,
        message: "a tab where YAML allows only blanks".to_owned(),
        fix: Some("indent with blanks, two for each level".to_owned()),
    }
}
