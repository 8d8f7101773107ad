//! A YAML document as Frigate's own reader would build it, with the place of every node.
//!
//! The tree keeps what serde would lose: where each key and value stands, whether a scalar was quoted, and which keys
//! came through a merge. An alias is the node it names, so a place always points at the text that can be changed.
//! Start at [`load::load`]; [`scalar`] says what a plain scalar means in each dialect.

pub(crate) mod guard;
pub(crate) mod load;
pub(crate) mod scalar;

use std::borrow::Cow;

pub(crate) use load::load;
pub(crate) use scalar::{Dialect, Kind};

/// Names a node of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// A place in the text, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What stands between two places.
#[derive(Debug)]
pub(crate) struct Node<'t> {
    pub(crate) at: Place,
    /// One past the last character; of a collection, where the reader noticed its end.
    pub(crate) end: Place,
    pub(crate) value: Value<'t>,
}

#[derive(Debug)]
pub(crate) enum Value<'t> {
    Scalar(Scalar<'t>),
    Sequence(Vec<NodeId>),
    /// Own keys in their order, then the merged ones that no own key hides.
    Mapping(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Scalar<'t> {
    pub(crate) text: Cow<'t, str>,
    pub(crate) kind: Kind,
    pub(crate) style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// `|`, whose lines are the text's lines.
    Literal,
    /// `>`, whose lines were folded.
    Folded,
}

/// One key with its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) key: NodeId,
    pub(crate) value: NodeId,
    /// It came in through `<<`.
    pub(crate) merged: bool,
}

/// One document.
#[derive(Debug, Default)]
pub(crate) struct Tree<'t> {
    nodes: Vec<Node<'t>>,
    /// Where the document's content starts; `None` for an empty one.
    pub(crate) root: Option<NodeId>,
}

/// Why a text is not what Frigate could read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: &'static str,
    pub(crate) at: Place,
    pub(crate) message: String,
    /// What to do about it, when that is more than the rule's general advice.
    pub(crate) fix: Option<String>,
}

impl<'t> Tree<'t> {
    pub(crate) fn node(&self, id: NodeId) -> &Node<'t> {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn at(&self, id: NodeId) -> Place {
        self.node(id).at
    }

    /// The keys and values of a mapping; nothing for any other node.
    pub(crate) fn entries(&self, id: NodeId) -> &[Entry] {
        match &self.node(id).value {
            Value::Mapping(entries) => entries,
            Value::Scalar(_) | Value::Sequence(_) => &[],
        }
    }

    /// The items of a sequence; nothing for any other node.
    pub(crate) fn items(&self, id: NodeId) -> &[NodeId] {
        match &self.node(id).value {
            Value::Sequence(items) => items,
            Value::Scalar(_) | Value::Mapping(_) => &[],
        }
    }

    pub(crate) fn scalar(&self, id: NodeId) -> Option<&Scalar<'t>> {
        match &self.node(id).value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The text of a scalar that is text, not a number or a truth value.
    pub(crate) fn text(&self, id: NodeId) -> Option<&str> {
        self.scalar(id).filter(|scalar| scalar.kind == Kind::Text).map(|scalar| scalar.text.as_ref())
    }

    pub(crate) fn is_mapping(&self, id: NodeId) -> bool {
        matches!(self.node(id).value, Value::Mapping(_))
    }

    pub(crate) fn is_sequence(&self, id: NodeId) -> bool {
        matches!(self.node(id).value, Value::Sequence(_))
    }

    pub(crate) fn is_null(&self, id: NodeId) -> bool {
        self.scalar(id).is_some_and(|scalar| scalar.kind == Kind::Null)
    }

    /// The entry of a mapping with that key.
    pub(crate) fn entry(&self, id: NodeId, key: &str) -> Option<Entry> {
        self.entries(id).iter().copied().find(|entry| self.text(entry.key) == Some(key))
    }

    /// The value of a mapping at that key.
    pub(crate) fn get(&self, id: NodeId, key: &str) -> Option<NodeId> {
        self.entry(id, key).map(|entry| entry.value)
    }

    /// The value at the end of a path of keys.
    pub(crate) fn path(&self, id: NodeId, keys: &[&str]) -> Option<NodeId> {
        keys.iter().try_fold(id, |node, key| self.get(node, key))
    }

    /// A truth value as Frigate's models take one: YAML's own, 0 and 1, and the usual words.
    pub(crate) fn truth(&self, id: NodeId) -> Option<bool> {
        self.scalar(id).and_then(Scalar::truth)
    }

    /// A number, written as one or as text.
    pub(crate) fn number(&self, id: NodeId) -> Option<f64> {
        self.scalar(id).and_then(Scalar::number)
    }
}

impl Scalar<'_> {
    /// What a field that wants a truth value makes of it.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self.kind {
            Kind::Bool(value) => Some(value),
            Kind::Int(0) => Some(false),
            Kind::Int(1) => Some(true),
            Kind::Float(0.0) => Some(false),
            Kind::Float(1.0) => Some(true),
            Kind::Text => scalar::truth_word(&self.text),
            _ => None,
        }
    }

    /// What a field that wants a number makes of it.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.kind {
            Kind::Int(value) => Some(value as f64),
            Kind::Float(value) => Some(value),
            Kind::Bool(value) => Some(f64::from(u8::from(value))),
            Kind::Text => self.text.trim().replace('_', "").parse().ok(),
            _ => None,
        }
    }
}
