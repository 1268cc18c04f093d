//! Reading templates and template scopes. Both have one grammar; a template may not bind its placeholders, a scope may.

use super::MAX_KEY_BYTES;
use super::escape::{EscapeError, Reader, Unit, push_escaped};
use super::template::{Segment, Template};

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("a template cannot be empty")]
    Empty,
    #[error("a template is at most {MAX_KEY_BYTES} bytes long")]
    TooLong,
    #[error(transparent)]
    Escape(#[from] EscapeError),
    #[error("the first segment must be literal and not empty: a template may never match every key")]
    FirstNotLiteral,
    #[error("a segment is either literal or one placeholder, not both: `{0}` (a literal brace is written {{{{ or }}}})")]
    Mixed(String),
    #[error("a brace is never closed or never opened (a literal brace is written {{{{ or }}}})")]
    Unbalanced,
    #[error("a placeholder's name is 1 to 40 letters, digits, `_` or `-`: `{0}`")]
    Name(String),
    #[error("the placeholder {{{0}}} is named twice")]
    Repeated(String),
    #[error("`{{{0}*}}` takes one or more segments, so it must be the last")]
    ManyNotLast(String),
    #[error("a template's placeholders are free; only a scope binds them as {{name=value}}")]
    Bound,
    #[error("the value of {{{0}}} is empty")]
    EmptyValue(String),
    #[error("the value of {{{0}}} holds the delimiter; it stands for one segment")]
    ValueHoldsDelimiter(String),
}

/// What one segment's text turned out to be while it is read.
#[derive(Default)]
struct Draft {
    literal: Vec<u8>,
    /// The segment's own text, for messages.
    shown: String,
    placeholder: Option<Segment>,
}

/// Reads a template in which placeholders may be bound. The result keeps the text as it was written.
pub(super) fn parse(text: &str, delimiter: u8) -> Result<Template, TemplateError> {
    if text.is_empty() {
        return Err(TemplateError::Empty);
    }
    if text.len() > 4 * MAX_KEY_BYTES {
        return Err(TemplateError::TooLong);
    }
    let mut reader = Reader::new(text);
    let mut drafts = vec![Draft::default()];
    while let Some(unit) = reader.next_unit()? {
        match unit {
            Unit::Plain('{') if !reader.take('{') => {
                let placeholder = read_placeholder(&mut reader, delimiter)?;
                let Some(draft) = drafts.last_mut() else { continue };
                draft.shown.push_str("{…}");
                if draft.placeholder.replace(placeholder).is_some() {
                    return Err(TemplateError::Mixed(draft.shown.clone()));
                }
            }
            Unit::Plain('}') if !reader.take('}') => return Err(TemplateError::Unbalanced),
            unit => push(unit, delimiter, &mut drafts),
        }
    }
    build(text, delimiter, drafts)
}

/// Adds a literal unit; a delimiter, however it is written, ends the segment.
fn push(unit: Unit, delimiter: u8, drafts: &mut Vec<Draft>) {
    let mut utf8 = [0; 4];
    let bytes: &[u8] = match unit {
        Unit::Plain(c) => c.encode_utf8(&mut utf8).as_bytes(),
        Unit::Escaped(byte) => &[byte],
    };
    for &byte in bytes {
        if byte == delimiter {
            drafts.push(Draft::default());
        } else if let Some(draft) = drafts.last_mut() {
            draft.literal.push(byte);
            push_escaped(&mut draft.shown, byte);
        }
    }
}

/// Reads on after the opening brace, up to and with the closing one.
fn read_placeholder(reader: &mut Reader<'_>, delimiter: u8) -> Result<Segment, TemplateError> {
    let mut name = String::new();
    let mut many = false;
    let mut value: Option<Vec<u8>> = None;
    loop {
        let Some(unit) = reader.next_unit()? else { return Err(TemplateError::Unbalanced) };
        match (unit, &mut value) {
            (Unit::Plain('}'), value) => {
                if value.is_some() && reader.take('}') {
                    value.get_or_insert_default().push(b'}');
                } else {
                    break;
                }
            }
            (Unit::Plain('{'), Some(value)) if reader.take('{') => value.push(b'{'),
            (Unit::Plain('{'), Some(_)) => return Err(TemplateError::Unbalanced),
            (Unit::Plain(c), Some(value)) => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            (Unit::Escaped(byte), Some(value)) => value.push(byte),
            (Unit::Plain('='), none) => *none = Some(Vec::new()),
            (Unit::Plain('*'), None) if !many => many = true,
            (Unit::Plain(c), None) if !many => name.push(c),
            (_, None) => return Err(TemplateError::Name(name)),
        }
    }
    if name.is_empty() || name.len() > 40 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err(TemplateError::Name(name));
    }
    let holds = |value: &Vec<u8>, empty_part: bool| {
        if empty_part { value.split(|&byte| byte == delimiter).any(<[u8]>::is_empty) } else { value.contains(&delimiter) }
    };
    match &value {
        Some(value) if value.is_empty() || (many && holds(value, true)) => Err(TemplateError::EmptyValue(name)),
        Some(value) if !many && holds(value, false) => Err(TemplateError::ValueHoldsDelimiter(name)),
        _ if many => Ok(Segment::Many { name, bound: value }),
        _ => Ok(Segment::One { name, bound: value }),
    }
}

fn build(text: &str, delimiter: u8, drafts: Vec<Draft>) -> Result<Template, TemplateError> {
    let mut segments: Vec<Segment> = Vec::with_capacity(drafts.len());
    let mut versioned_only = false;
    let count = drafts.len();
    let mut bytes = count - 1;
    for (i, draft) in drafts.into_iter().enumerate() {
        bytes += draft.literal.len();
        let segment = match draft.placeholder {
            None => Segment::Literal(draft.literal),
            Some(placeholder) if draft.literal.is_empty() => placeholder,
            // The one mixed segment there is: a final `v{n}`.
            Some(Segment::One { name, bound: None }) if draft.shown == "v{…}" && name == "n" && i + 1 == count && i > 0 => {
                versioned_only = true;
                break;
            }
            Some(_) => return Err(TemplateError::Mixed(draft.shown)),
        };
        if i == 0 && !matches!(&segment, Segment::Literal(literal) if !literal.is_empty()) {
            return Err(TemplateError::FirstNotLiteral);
        }
        match &segment {
            Segment::Many { name, .. } if i + 1 < count => return Err(TemplateError::ManyNotLast(name.clone())),
            Segment::One { name, bound } | Segment::Many { name, bound } => {
                bytes += bound.as_ref().map_or(1, Vec::len);
                let repeated = |earlier: &Segment| matches!(earlier, Segment::One { name: other, .. } | Segment::Many { name: other, .. } if other == name);
                if segments.iter().any(repeated) {
                    return Err(TemplateError::Repeated(name.clone()));
                }
            }
            Segment::Literal(_) => {}
        }
        segments.push(segment);
    }
    if bytes > MAX_KEY_BYTES {
        return Err(TemplateError::TooLong);
    }
    Ok(Template { text: text.to_owned(), delimiter, segments, versioned_only })
}
