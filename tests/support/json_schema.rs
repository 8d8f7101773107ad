//! Whether a JSON value is what a schema says: the keywords that our schemas use, and no other.
//!
//! A keyword that is not known here panics, so that none is passed over. `tests/program/plan_schema.rs` lets another
//! implementation judge the same values where there is one.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

/// Keywords that tell people something and decide nothing.
const WORDS: &[&str] = &["$schema", "$id", "title", "description", "default", "examples", "$defs"];

/// A schema, and whether objects may have fields that it does not name.
pub struct Judge<'s> {
    pub schema: &'s Value,
    /// A field that `properties` does not name is an error even where `additionalProperties` is not said.
    pub strict: bool,
}

impl Judge<'_> {
    /// `Ok` when the value conforms.
    pub fn judge(&self, value: &Value) -> Result<(), String> {
        self.at(self.schema, value, "")
    }

    /// `Ok` when the value is what this part of the schema says.
    pub fn fits(&self, part: &Value, value: &Value) -> Result<(), String> {
        self.at(part, value, "")
    }

    fn at(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let rules = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => return Err(format!("{at}: nothing may be here")),
            other => other.as_object().ok_or_else(|| format!("{at}: no such schema"))?,
        };
        for (keyword, rule) in rules {
            if !self.holds(rules, keyword, rule, value, at)? {
                return Err(format!("{at}: {value} is not {keyword} {rule}"));
            }
        }
        Ok(())
    }

    fn holds(
        &self,
        rules: &serde_json::Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Result<bool, String> {
        let object = value.as_object();
        let array = value.as_array();
        let number = || rule.as_u64().unwrap() as usize;
        Ok(match keyword {
            "$ref" => {
                let place = rule.as_str().unwrap().trim_start_matches('#');
                let part = self.schema.pointer(place).unwrap_or_else(|| panic!("nothing at {rule}"));
                self.at(part, value, at)?;
                true
            }
            "type" => {
                let kinds = rule.as_array().map_or(vec![rule], |all| all.iter().collect());
                kinds.iter().any(|kind| is(value, kind.as_str().unwrap()))
            }
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "required" => object.is_none_or(|object| {
                rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, part) in object.into_iter().flatten() {
                    match rule.get(name) {
                        Some(rule) => self.at(rule, part, &format!("{at}.{name}"))?,
                        None if self.strict && !rules.contains_key("additionalProperties") => {
                            return Err(format!("{at}.{name}: not in the schema"));
                        }
                        None => {}
                    }
                }
                true
            }
            "additionalProperties" => {
                for (name, part) in object.into_iter().flatten() {
                    if rules.get("properties").is_none_or(|known| known.get(name).is_none()) {
                        self.at(rule, part, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "propertyNames" => {
                for name in object.into_iter().flat_map(serde_json::Map::keys) {
                    self.at(rule, &Value::from(name.as_str()), &format!("{at}.{name}"))?;
                }
                true
            }
            "minProperties" => object.is_none_or(|object| object.len() >= number()),
            "maxProperties" => object.is_none_or(|object| object.len() <= number()),
            "items" => {
                for (place, part) in array.into_iter().flatten().enumerate() {
                    self.at(rule, part, &format!("{at}[{place}]"))?;
                }
                true
            }
            "minItems" => array.is_none_or(|array| array.len() >= number()),
            "uniqueItems" => {
                array.is_none_or(|array| array.iter().enumerate().all(|(n, item)| !array[..n].contains(item)))
            }
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= number()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= number()),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "oneOf" | "anyOf" | "allOf" => {
                let all = rule.as_array().unwrap();
                let tried: Vec<_> = all.iter().map(|each| self.at(each, value, at)).collect();
                let good = tried.iter().filter(|each| each.is_ok()).count();
                let fits = match keyword {
                    "oneOf" => good == 1,
                    "anyOf" => good > 0,
                    _ => good == all.len(),
                };
                if !fits {
                    return Err(format!("{at}: {value} fits {good} of {keyword}: {tried:?}"));
                }
                true
            }
            "not" => self.at(rule, value, at).is_err(),
            word if WORDS.contains(&word) => true,
            other => panic!("keyword `{other}` is not known here"),
        })
    }
}

thread_local! {
    /// Patterns are few, are used thousands of times and take long to read.
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
}

fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.with_borrow_mut(|known| {
        known.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
    })
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type `{other}`"),
    }
}
