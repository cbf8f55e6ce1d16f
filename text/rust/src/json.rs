//! The filter tojson, which in transformers is Python's json.dumps.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use crate::python::{invalid, number, DEPTH_MAX};
use crate::user_text::MARKER;

const INDENT_MAX: usize = 64;
const NOT_FINITE: [&str; 2] = ["Infinity", "NaN"];

/// json.dumps: tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
pub fn tojson(value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let argument = |position: usize, name: &str| -> Result<Value, Error> {
        let by_name: Option<Value> = kwargs.get(name)?;
        let value = args.get(position).cloned().or(by_name).unwrap_or(Value::from(()));
        Ok(value)
    };
    let indent = argument(1, "indent")?;
    let indent = match (indent.as_str(), indent.as_usize()) {
        (Some(text), _) => Some(text.to_string()),
        (None, Some(count)) if count <= INDENT_MAX => Some(" ".repeat(count)),
        (None, Some(count)) => return Err(invalid(format!("tojson: indent {count} is above {INDENT_MAX}"))),
        _ => None,
    };
    let separators = argument(2, "separators")?;
    let separator = |i: usize| separators.get_item_by_index(i).ok().and_then(|s| s.as_str().map(str::to_string));
    let mut json = Json {
        out: String::new(),
        ensure_ascii: argument(0, "ensure_ascii")?.is_true(),
        item_separator: separator(0).unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.to_string()),
        key_separator: separator(1).unwrap_or_else(|| ": ".to_string()),
        sort_keys: argument(3, "sort_keys")?.is_true(),
        indent,
    };
    kwargs.assert_all_used()?;
    json.write(value, 0)?;
    Ok(Value::from(json.out))
}

struct Json {
    out: String,
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

impl Json {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(invalid("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value, NOT_FINITE)),
            ValueKind::String => self.write_string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.write_list(value, depth)?,
            ValueKind::Map => self.write_map(value, depth)?,
            kind => return Err(invalid(format!("tojson: a value of type {kind} has no JSON form"))),
        }
        Ok(())
    }

    fn write_list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in list.try_iter()?.checked() {
            self.begin_item(empty, depth);
            empty = false;
            self.write(&item?, depth + 1)?;
        }
        self.end(']', empty, depth);
        Ok(())
    }

    fn write_map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut keys = map.try_iter()?.checked().collect::<Result<Vec<Value>, Error>>()?;
        if self.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        for (i, key) in keys.iter().enumerate() {
            self.begin_item(i == 0, depth);
            match key.kind() {
                ValueKind::String => self.write_string(key.as_str().unwrap_or_default()),
                ValueKind::None => self.out.push_str("\"null\""),
                ValueKind::Bool => self.out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
                ValueKind::Number => self.write_string(&number(key, NOT_FINITE)),
                kind => return Err(invalid(format!("tojson: a value of type {kind} cannot be a key"))),
            }
            self.out.push_str(&self.key_separator);
            self.write(&map.get_item(key)?, depth + 1)?;
        }
        self.end('}', keys.is_empty(), depth);
        Ok(())
    }

    fn begin_item(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.item_separator);
        }
        self.new_line(depth + 1);
    }

    fn end(&mut self, close: char, empty: bool, depth: usize) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(close);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn write_string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                // A marker has to stay one, else the text that it guards would not be seen as a user's.
                MARKER => self.out.push(MARKER),
                _ if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
