//! The configuration file as a flat list of keys, values and line numbers.

use crate::error::ConfigError;
use crate::lists::list;
use crate::value::Raw;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// The largest file that is read.
pub(crate) const LARGEST: u64 = 1 << 20;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct FileContents {
    /// `section.key`, line, value.
    pub(crate) values: Vec<(String, usize, Raw)>,
    /// Sections, with their lines.
    pub(crate) sections: Vec<(String, usize)>,
    /// The items of each list.
    pub(crate) lists: Vec<(String, Vec<Item>)>,
}

/// One item of a list of tables.
#[derive(Debug)]
pub(crate) struct Item {
    /// Where it begins.
    pub(crate) line: usize,
    /// Key, line, value.
    pub(crate) fields: Vec<(String, usize, Raw)>,
}

/// Reads a small file as text.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > LARGEST {
        return Err(format!("it has {size} octets; at most {LARGEST} are read"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

/// Reads TOML. Everything that is wrong with its syntax is reported.
pub(crate) fn parse(text: &str, file: &str) -> Result<FileContents, Vec<ConfigError>> {
    let lines = Lines::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let error = |e: &toml::de::Error| {
            let line = e.span().map_or(1, |span| lines.number(span.start));
            ConfigError::new(format_args!("{file}:{line}"), "", e.message())
        };
        return Err(errors.iter().map(error).collect());
    }
    let mut contents = FileContents::default();
    for (key, value) in root.get_ref().iter() {
        let line = lines.number(key.span().start);
        let name = key.get_ref().to_string();
        match value.get_ref() {
            DeValue::Table(section) => {
                for (key, value) in section.iter() {
                    let line = lines.number(key.span().start);
                    contents.note(format!("{name}.{}", key.get_ref()), line, value, &lines);
                }
                contents.sections.push((name, line));
            }
            _ => contents.note(name, line, value, &lines),
        }
    }
    contents.values.sort_by_key(|(_, line, _)| *line);
    Ok(contents)
}

impl FileContents {
    fn note(&mut self, name: String, line: usize, value: &Spanned<DeValue<'_>>, lines: &Lines) {
        match value.get_ref() {
            DeValue::Array(items) if list(&name).is_some() => {
                let items = items.iter().map(|item| list_item(item, lines)).collect();
                self.lists.push((name, items));
            }
            _ => self.values.push((name, line, raw(value))),
        }
    }
}

fn list_item(item: &Spanned<DeValue<'_>>, lines: &Lines) -> Item {
    let field = |(key, value): (&Spanned<_>, _)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        (name.to_string(), lines.number(key.span().start), raw(value))
    };
    let fields = item
        .get_ref()
        .as_table()
        .map(|table| table.iter().map(field).collect());
    Item {
        line: lines.number(item.span().start),
        fields: fields.unwrap_or_default(),
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::String(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(members) => Raw::List(members.iter().map(raw).collect()),
        // In its usual spelling; others, `1_0.5` say, are none that a setting needs.
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Raw::Float(number),
            Err(_) => Raw::Other("a number with a fraction"),
        },
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn integer(number: &DeInteger<'_>) -> Raw {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => Raw::Integer(number),
        Err(_) => Raw::Other("a number too large"),
    }
}

/// Line numbers of offsets.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines {
            starts: std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect(),
        }
    }
    /// From 1.
    fn number(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}
