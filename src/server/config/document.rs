//! A TOML file with its lines: tables that know which keys were asked for, so that those that nobody knows are named at the end.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::problems::{Place, Problem, Problems, with_nearest};
use super::types::Secret;

/// A file while it is read: its text, and what was found wrong so far.
pub(super) struct Document<'d> {
    file: String,
    /// Where relative paths in it start.
    folder: PathBuf,
    text: &'d str,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'d> Document<'d> {
    pub(super) fn new(file: &str, folder: &Path, text: &'d str) -> Self {
        let (problems, warnings) = (RefCell::default(), RefCell::default());
        Self { file: file.to_owned(), folder: folder.to_owned(), text, problems, warnings }
    }

    /// The top table. What cannot be parsed is a problem, and the rest is read all the same.
    pub(super) fn parse(&self) -> DeTable<'d> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map_or(1, |span| self.line(&span));
            // One line may break several rules at once; its first is the cause.
            if !self.is_reported(line) {
                self.problem(line, format!("not TOML: {}", error.message().replace('\n', ", ")));
            }
        }
        table.into_inner()
    }

    fn is_reported(&self, line: usize) -> bool {
        self.problems.borrow().iter().any(|problem| matches!(problem.place, Place::Line { line: reported, .. } if reported == line))
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count()
    }

    pub(super) fn problem(&self, line: usize, message: impl Into<String>) {
        let place = Place::Line { file: self.file.clone(), line };
        self.problems.borrow_mut().push(Problem { place, message: message.into() });
    }

    pub(super) fn variable_problem(&self, name: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { place: Place::Variable(name.to_owned()), message: message.into() });
    }

    pub(super) fn warning(&self, line: usize, message: impl Into<String>) {
        let place = Place::Line { file: self.file.clone(), line };
        self.warnings.borrow_mut().push(Problem { place, message: message.into() });
    }

    /// What was found wrong, and what was accepted without effect; both in the order of lines.
    pub(super) fn finish(self) -> (Problems, Vec<String>) {
        let by_line = |problem: &Problem| match problem.place {
            Place::Line { line, .. } => line,
            Place::Variable(_) => usize::MAX,
        };
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(by_line);
        problems.dedup();
        warnings.sort_by_key(by_line);
        (Problems(problems), warnings.iter().map(ToString::to_string).collect())
    }
}

/// A value and the line it stands on.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// One table while it is read.
pub(super) struct Table<'t, 'd> {
    document: &'t Document<'d>,
    entries: &'t DeTable<'d>,
    /// Where the table begins.
    pub(super) line: usize,
    /// "a target", "`threshold`": for sentences.
    what: &'t str,
    asked: RefCell<Vec<&'static str>>,
}

impl<'t, 'd> Table<'t, 'd> {
    pub(super) fn new(document: &'t Document<'d>, entries: &'t DeTable<'d>, line: usize, what: &'t str) -> Self {
        Self { document, entries, line, what, asked: RefCell::default() }
    }

    /// The value of a key, which is a known key from now on.
    fn value(&self, key: &'static str) -> Option<At<&'t DeValue<'d>>> {
        self.asked.borrow_mut().push(key);
        let (_, value) = self.entries.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(At { value: value.get_ref(), line: self.document.line(&value.span()) })
    }

    /// Whether the key is there, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name.get_ref() == key)
    }

    fn wrong(&self, key: &str, line: usize, wanted: &str, found: &DeValue<'_>) {
        self.document.problem(line, format!("`{key}` of {} is {wanted}, not {}", self.what, describe(found)));
    }

    /// Says that a key that must be there is not.
    pub(super) fn missing(&self, key: &str, example: &str) {
        self.document.problem(self.line, format!("{} has no `{key}`; for example: {example}", self.what));
    }

    /// The value with its line, or a problem that says what was wanted.
    fn or_wrong<T>(&self, key: &str, found: &At<&DeValue<'_>>, value: Option<T>, wanted: &str) -> Option<At<T>> {
        if value.is_none() {
            self.wrong(key, found.line, wanted, found.value);
        }
        Some(At { value: value?, line: found.line })
    }

    pub(super) fn string(&self, key: &'static str) -> Option<At<&'t str>> {
        let found = self.value(key)?;
        self.or_wrong(key, &found, found.value.as_str(), "a string")
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        let found = self.value(key)?;
        self.or_wrong(key, &found, found.value.as_bool(), "true or false")
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<At<u64>> {
        let found = self.value(key)?;
        let value = found.value.as_integer().and_then(|digits| u64::from_str_radix(digits.as_str(), digits.radix()).ok());
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        self.or_wrong(key, &found, value.filter(|value| range.contains(value)), &wanted)
    }

    /// A share above 0, up to 1 or below it.
    pub(super) fn share(&self, key: &'static str, may_be_one: bool) -> Option<At<f64>> {
        let found = self.value(key)?;
        let digits = match found.value {
            DeValue::Float(digits) => digits.as_str(),
            DeValue::Integer(digits) => digits.as_str(),
            _ => "",
        };
        let share = digits.parse::<f64>().ok().filter(|&share| share > 0.0 && (share < 1.0 || (may_be_one && share <= 1.0)));
        let wanted = if may_be_one { "a share above 0 and up to 1, such as 0.01" } else { "a share between 0 and 1, such as 0.999" };
        self.or_wrong(key, &found, share, wanted)
    }

    /// `"60s"`, `"400ms"`, `"10m"`, `"2h"`, `"14d"`.
    pub(super) fn duration(&self, key: &'static str) -> Option<At<Duration>> {
        let found = self.value(key)?;
        let wanted = "a duration such as \"400ms\", \"60s\", \"10m\", \"2h\" or \"14d\"";
        self.or_wrong(key, &found, found.value.as_str().and_then(parse_duration), wanted)
    }

    /// One of some words, by their names.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<At<T>> {
        let found = self.string(key)?;
        let word = words.iter().find(|(name, _)| *name == found.value).map(|(_, value)| *value);
        if word.is_none() {
            let known = with_nearest(found.value, words.iter().map(|(name, _)| *name));
            self.document.problem(found.line, format!("`{key}` of {} cannot be {known}", self.what));
        }
        Some(At { value: word?, line: found.line })
    }

    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<At<&'t str>>> {
        let found = self.value(key)?;
        let Some(array) = found.value.as_array() else {
            self.wrong(key, found.line, "a list of strings", found.value);
            return None;
        };
        let mut strings = Vec::new();
        for item in array {
            let line = self.document.line(&item.span());
            match item.get_ref().as_str() {
                Some(value) => strings.push(At { value, line }),
                None => self.wrong(key, line, "a list of strings", item.get_ref()),
            }
        }
        Some(strings)
    }

    /// A table under this key; `what` names it in sentences.
    pub(super) fn table(&self, key: &'static str, what: &'t str) -> Option<Table<'t, 'd>> {
        let found = self.value(key)?;
        let found = self.or_wrong(key, &found, found.value.as_table(), "a table")?;
        Some(Table::new(self.document, found.value, found.line, what))
    }

    /// Each `[[key]]`, or each `{ … }` of a list.
    pub(super) fn tables(&self, key: &'static str, what: &'t str) -> Vec<Table<'t, 'd>> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let Some(array) = found.value.as_array() else {
            self.document.problem(found.line, format!("`{key}` is a list of tables: write [[{key}]] for each"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            let line = self.document.line(&item.span());
            match item.get_ref().as_table() {
                Some(entries) => tables.push(Table::new(self.document, entries, line, what)),
                None => self.wrong(key, line, "a list of tables", item.get_ref()),
            }
        }
        tables
    }

    /// A secret, written out or as the name of a file that holds it.
    pub(super) fn secret(&self, key: &'static str, file_key: &'static str) -> Option<At<Secret>> {
        let (written, file) = (self.string(key), self.string(file_key));
        match (written, file) {
            (Some(_), Some(file)) => {
                self.document.problem(file.line, format!("{} has both `{key}` and `{file_key}`: keep one", self.what));
                None
            }
            (Some(written), None) => Some(At { value: Secret::new(written.value), line: written.line }),
            (None, Some(file)) => {
                let text = self.read(file_key, &file)?;
                Some(At { value: Secret::new(text.trim_end_matches(['\r', '\n'])), line: file.line })
            }
            (None, None) => None,
        }
    }

    /// What stands in the file that this key names.
    pub(super) fn file(&self, key: &'static str) -> Option<Secret> {
        let file = self.string(key)?;
        self.read(key, &file).map(Secret::new)
    }

    fn read(&self, key: &str, file: &At<&str>) -> Option<String> {
        let path = self.document.folder.join(file.value);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.document.problem(file.line, format!("`{key}` cannot be read: {} ({error})", path.display()));
                None
            }
        }
    }

    pub(super) fn problem(&self, line: usize, message: impl Into<String>) {
        self.document.problem(line, message);
    }

    pub(super) fn warning(&self, line: usize, message: impl Into<String>) {
        self.document.warning(line, message);
    }

    /// Names every key that was never asked for. Ask for all known keys first.
    pub(super) fn finish(self) {
        let known = self.asked.borrow();
        for (name, _) in self.entries {
            if !known.contains(&name.get_ref().as_ref()) {
                let line = self.document.line(&name.span());
                let named = with_nearest(name.get_ref(), known.iter().copied());
                self.document.problem(line, format!("{} has no key {named}", self.what));
            }
        }
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", crate::domain::prefix::escape(text.as_bytes())),
        DeValue::Integer(digits) => digits.as_str().to_owned(),
        DeValue::Float(digits) => digits.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A whole number and a unit: `us`, `ms`, `s`, `m`, `h`, `d`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit.trim_start() {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(86_400),
        _ => None,
    }
}
